"""Are pair probabilities true for tiles of new groups? Grouped outer five-fold cross-validation.

    histo-index build shared/data/eval/ebhi_colon_dx/labels.csv -o ebhi.hx
    python benchmarks/pair_gates.py ebhi.hx

Each fold fits the curve to labelled pairs of the other groups, and reads probabilities from it for
pairs of the held-out groups: with both tiles in the index but without their labels; and, in an
index of the other groups, with one tile or both from outside. Half of the pairs are same, and every
two groups count alike, as in `calibrate`. It prints the mean probability less the share of same
pairs and the calibration slope, with 99 % intervals by bootstrap of groups, and the calibration
error in ten bins of equal weight. With --require the exit status is 1 if an interval does not
contain 0, or 1 for the slope.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

import histo_index
from histo_index.arrays import Bools, Float16, Float64, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.bootstrap import Estimate, bands
from histo_index.search.calibration.curve import Curve
from histo_index.search.calibration.fit import fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.classification.held_out import split_groups
from histo_index.search.classification.measure import slope_statistic
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labelled_pairs import make_labelled_pairs
from histo_index.search.inputs.labels import Labels, read_labels
from histo_index.search.inputs.resolve import vectors_of
from histo_index.search.inputs.sample import weigh_groups_alike

FOLDS: Final = 5
LEVEL: Final = 0.99
BINS: Final = 10
# Pairs of each kind, same and different, that a fold asks for.
ASKED: Final = 1_000
ROUNDS: Final = 200
INSIDE, ONE, BOTH = "both in the index", "one from outside", "both from outside"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Pairs, what was said and what is true.

    Attributes:
        chances: float64 [n].
        is_same: bool [n].
        left: int64 [n], group of the first tile.
        right: int64 [n], of the second.
    """

    chances: Float64
    is_same: Bools
    left: Int64
    right: Int64


class Tiles:
    """Labelled tiles of an index."""

    def __init__(self, path: Path) -> None:
        self.index = OpenIndex(path)
        self.labels: Labels = read_labels(self.index)
        self.classes = np.unique(self.labels.labels, return_inverse=True)[1]
        self.groups = np.unique(self.labels.groups, return_inverse=True)[1]
        self.folds = split_groups(self.groups, self.classes, folds=FOLDS)

    def draw(self, first: Int64, second: Int64, seed: int) -> tuple[Int64, Int64]:
        """Draw as many same as different pairs across groups, one tile of each list."""
        left, right = (side.ravel() for side in np.meshgrid(first, second, indexing="ij"))
        is_across = self.groups[left] != self.groups[right]
        left, right = left[is_across], right[is_across]
        is_same = self.classes[left] == self.classes[right]
        generator = np.random.default_rng(seed)
        count = min(ASKED, int(is_same.sum()), int((~is_same).sum()))
        chosen = np.concatenate(
            [
                generator.choice(np.flatnonzero(kind), count, replace=False)
                for kind in (is_same, ~is_same)
            ]
        )
        return left[chosen], right[chosen]

    def ask(self, curve: Curve, vectors: Float16, ends: tuple[Int64, Int64]) -> Asked:
        """Read the probability of pairs of tiles from a curve."""
        left, right = ends
        distances = pair_distances(vectors[left], vectors[right]).astype(np.float64)
        return Asked(
            chances=curve.at(distances).probability,
            is_same=self.classes[left] == self.classes[right],
            left=self.groups[left], right=self.groups[right],
        )  # fmt: skip


def curve_of(index: OpenIndex, labels: Labels) -> Curve:
    """Fit the curve as `calibrate` does, without its band."""
    dataset = make_labelled_pairs(index, labels, None)
    vectors = index.vectors(dataset.rows)
    distances = pair_distances(vectors[dataset.left], vectors[dataset.right])
    return fit(dataset.sample(distances), Objective(), rounds=2).curve


def measure(path: Path) -> list[tuple[str, ...]]:
    """Measure the probabilities that pairs of held-out groups get."""
    tiles = Tiles(path)
    own, embeddings = (
        tiles.index.vectors(tiles.labels.rows),
        read_embeddings(tiles.index, tiles.labels.rows),
    )
    asked: dict[str, list[Asked]] = {INSIDE: [], ONE: [], BOTH: []}
    for fold in range(FOLDS):
        held, kept = np.flatnonzero(tiles.folds == fold), np.flatnonzero(tiles.folds != fold)
        pairs, mixed = tiles.draw(held, held, fold), tiles.draw(held, kept, fold)
        known = _part(tiles.labels, kept)
        asked[INSIDE].append(tiles.ask(curve_of(tiles.index, known), own, pairs))
        curve, vectors = _without(tiles, embeddings, kept)
        asked[ONE].append(tiles.ask(curve, vectors, mixed))
        asked[BOTH].append(tiles.ask(curve, vectors, pairs))
    return [line(name, parts, tiles.groups) for name, parts in asked.items()]


def _part(labels: Labels, kept: Int64) -> Labels:
    return Labels(
        **{
            **labels.__dict__,
            "rows": labels.rows[kept],
            "labels": [labels.labels[row] for row in kept.tolist()],
            "groups": [labels.groups[row] for row in kept.tolist()],
        }
    )


def _without(tiles: Tiles, embeddings: Float16, kept: Int64) -> tuple[Curve, Float16]:
    """Make an index of some tiles; return its curve, and the vectors of all tiles in it."""
    with tempfile.TemporaryDirectory() as folder:
        made = histo_index.from_embeddings(
            [f"t{row:07}" for row in kept.tolist()], embeddings[kept].astype(np.float32),
            Path(folder) / "fold.hx",
            {
                "label": [tiles.labels.labels[row] for row in kept.tolist()],
                "group": [tiles.labels.groups[row] for row in kept.tolist()],
            },
        ).opened  # fmt: skip
        vectors = vectors_of(made, embeddings)
        rows = made.find_names([f"t{row:07}" for row in kept.tolist()])
        vectors[kept] = made.vectors(rows)
        return curve_of(made, read_labels(made)), vectors


def line(name: str, parts: list[Asked], groups: Int64) -> tuple[str, ...]:
    """Measure one kind of pairs, drawn from tiles of groups int64 [T]: a line of the table."""
    chances, is_same, left, right = (
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("chances", "is_same", "left", "right")
    )
    alike = weigh_groups_alike(groups, left, right, is_same)
    alike = np.ones(len(chances)) if alike is None else alike
    errors, slope = chances - is_same, slope_statistic(chances, is_same)

    def figures(weights: Float64) -> Float64:
        each = weights * alike
        return np.array([each @ errors / each.sum(), slope(each)])

    center = figures(np.ones(len(errors)))
    low, high = bands(figures, left, right, rounds=ROUNDS, level=LEVEL, is_share=False)
    difference, found = (Estimate.of(*ends) for ends in zip(center, low, high, strict=True))
    is_passed = all(
        one.low is None or one.high is None or one.low <= true <= one.high
        for one, true in ((difference, 0.0), (found, 1.0))
    )
    return (
        name, f"{len(errors):,}", f"{chances @ alike / alike.sum():.3f}",
        _ends(difference, "+.3f"), _ends(found, ".3f"),
        f"{bin_error(chances, is_same, alike):.3f}", "" if is_passed else "missed",
    )  # fmt: skip


def bin_error(chances: Float64, is_same: Bools, weights: Float64) -> float:
    """Compute the calibration error in bins of equal weight."""
    order = np.argsort(chances, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    parts = np.split(order, np.searchsorted(shares, np.arange(1, BINS) / BINS))
    gaps = [abs(float(weights[part] @ (chances[part] - is_same[part]))) for part in parts]
    return sum(gaps) / float(weights.sum())


def _ends(found: Estimate, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}}…{found.high:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path, nargs="+")
    parser.add_argument("--require", action="store_true", help="exit 1 if an interval misses")
    given = parser.parse_args()
    is_passed = True
    for path in given.index:
        print(
            f"\n{path.name}\n\n| tiles of held-out groups | pairs | mean | less share same | "
            "slope | error, 10 bins | |\n|---|---|---|---|---|---|---|"
        )
        for cells in measure(path):
            is_passed &= not cells[-1]
            print(f"| {' | '.join(cells)} |", flush=True)
    sys.exit(0 if is_passed or not given.require else 1)


if __name__ == "__main__":
    main()
