"""Choose the pull of the class model: how strongly offsets and votes are kept from few groups.

    histo-index build ebhi-colon.csv -o ebhi-colon.hx      # training tiles, never eval/
    python benchmarks/class_pull.py ebhi-colon.hx

The manifest has the columns path, label and group of ../shared/data/train-labels.csv. Few groups
are drawn many times; of each drawing the classes are predicted by grouped five-fold
cross-validation, transform and model fitted without the held-out groups. All drawings are joined.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from class_gates import Said, bin_error, index_kept

from histo_index.arrays import Bools, Float16, Float64, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.classification.fit import equal_weights, fit_classes
from histo_index.search.classification.fit_index import hold_out
from histo_index.search.classification.held_out import split_groups, squared_distances
from histo_index.search.classification.layer import probabilities
from histo_index.search.classification.measure import slope_statistic
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.resolve import vectors_of

FOLDS: Final = 5
# Groups of each class that a drawing has at least, so that no fold is without a class.
_FEWEST: Final = 4


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Labelled tiles.

    Attributes:
        embeddings: float16 [n, D].
        classes: int64 [n].
        groups: int64 [n].
    """

    embeddings: Float16
    classes: Int64
    groups: Int64

    def part(self, chosen: Bools) -> "Tiles":
        return Tiles(
            embeddings=self.embeddings[chosen],
            classes=self.classes[chosen],
            groups=self.groups[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Class probabilities of tiles of held-out groups.

    Attributes:
        shares: float64 [n, C].
        classes: int64 [n], the true classes.
        groups: int64 [n].
    """

    shares: Float64
    classes: Int64
    groups: Int64


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("index", type=Path, help="of training tiles with label and group")
    options.add_argument("--classes", type=int, default=3, help="those of the most groups")
    options.add_argument("--groups", type=int, nargs="+", default=[16, 30])
    options.add_argument("--draws", type=int, nargs="+", default=[24, 12], help="for each of them")
    options.add_argument("--pulls", type=float, nargs="+", default=[0.1, 1, 2, 3, 4, 6, 10])
    given = options.parse_args()
    measuring.print_machine()
    tiles = read_tiles(given.index, given.classes)
    lines = []
    for count, draws in zip(given.groups, given.draws, strict=True):
        by_pull = predict_draws(tiles, count, draws, given.pulls)
        lines += [(f"{count}", f"{pull:g}", *measure(by_pull[pull])) for pull in given.pulls]
    header = ("groups", "pull, in groups", "log loss", "slope", "error in 5 bins", "of likeliest")
    measuring.print_table(header, lines)


def read_tiles(path: Path, classes: int) -> Tiles:
    """Read the tiles of the classes that have the most groups."""
    index = OpenIndex(path)
    labels = read_labels(index)
    names, codes = np.unique(labels.labels, return_inverse=True)
    groups = np.unique(labels.groups, return_inverse=True)[1]
    counts = [len(np.unique(groups[codes == code])) for code in range(len(names))]
    kept = np.sort(np.argsort(counts)[-classes:])
    measuring.tell(", ".join(f"{names[code]}: {counts[code]} groups" for code in kept))
    whole = Tiles(
        embeddings=read_embeddings(index, labels.rows), classes=codes.astype(np.int64),
        groups=groups.astype(np.int64),
    )  # fmt: skip
    part = whole.part(np.isin(codes, kept))
    return Tiles(
        embeddings=part.embeddings,
        classes=np.searchsorted(kept, part.classes),
        groups=part.groups,
    )


def predict_draws(
    tiles: Tiles, count: int, draws: int, pulls: list[float]
) -> dict[float, list[Predicted]]:
    """Predict tiles of held-out groups in drawings of so many groups, by each pull."""
    generator = np.random.default_rng(count)
    names = np.unique(tiles.groups)
    found: dict[float, list[Predicted]] = {pull: [] for pull in pulls}
    done = 0
    while done < draws:
        drawn = tiles.part(np.isin(tiles.groups, generator.choice(names, count, replace=False)))
        cells = np.unique(np.stack([drawn.classes, drawn.groups]), axis=1)[0]
        if np.bincount(cells, minlength=tiles.classes.max() + 1).min() < _FEWEST:
            continue
        split = split_groups(drawn.groups, drawn.classes, folds=FOLDS)
        for fold in range(FOLDS):
            predict_fold(drawn, split == fold, done, found)
        done += 1
        measuring.tell(f"{count} groups: {done} of {draws} drawings")
    return found


def predict_fold(
    tiles: Tiles, is_held: Bools, draw: int, found: dict[float, list[Predicted]]
) -> None:
    """Fit to the tiles that are not held out by each pull, and append what the others get."""
    asked = tiles.part(is_held)
    with tempfile.TemporaryDirectory() as folder:
        made, dataset = index_kept(
            Path(folder), tiles.embeddings, tiles.classes.astype(str), tiles.groups, ~is_held
        )
        held = hold_out(made.opened, dataset)
        if isinstance(held, str):
            raise SystemExit(held)
        distances = squared_distances(
            vectors_of(made.opened, asked.embeddings), made.opened.vectors(held.rows)
        )
    for pull, parts in found.items():
        fitted = fit_classes(held.gallery, held.distances, held.classes, held.groups, pull=pull)
        evidence = fitted.evidence(held.gallery, distances)
        parts.append(
            Predicted(
                shares=probabilities(fitted.parameters, evidence, fitted.priors),
                classes=asked.classes,
                groups=asked.groups + draw * (int(tiles.groups.max()) + 1),
            )
        )


def measure(parts: list[Predicted]) -> tuple[str, ...]:
    """Compute log loss, calibration slope and calibration errors, groups weighted equally."""
    shares = np.concatenate([part.shares for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    groups = np.concatenate([part.groups for part in parts])
    weights, size = equal_weights(groups), shares.shape[1]
    own = shares[np.arange(len(shares)), classes]
    is_class = classes[:, None] == np.arange(size)
    slope = slope_statistic(shares.ravel(), is_class.ravel(), size)(weights)
    every = Said(chances=shares.ravel(), is_true=is_class.ravel(), groups=np.repeat(groups, size))
    best = shares.argmax(axis=1)
    likeliest = Said(chances=shares.max(axis=1), is_true=best == classes, groups=groups)
    loss = -float(weights @ np.log(own))
    errors = bin_error(every), bin_error(likeliest)
    return f"{loss:.4f}", f"{slope:.3f}", *(f"{error:.3f}" for error in errors)


if __name__ == "__main__":
    main()
