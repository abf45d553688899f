"""Are class probabilities true for tiles of new groups? Grouped outer five-fold cross-validation.

    histo-index build shared/data/eval/ebhi_colon_dx/labels.csv -o ebhi.hx
    python benchmarks/class_gates.py ebhi.hx

Each fold makes an index of the other groups, so that transform, class model and calibration are
fitted without the held-out groups; these are then searched as foreign tiles. For the neighbours at
ranks 1, 3, 5 and 10 and for the classes it prints the mean of the probabilities less the share
right and the calibration slope, with 99 % intervals by bootstrap of groups; and the calibration
error in five bins of equal size beside what probabilities without any error would show. With
--require the exit status is 1 if an interval does not contain 0, or 1 for the slope.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

import histo_index
from histo_index.api.index import Index
from histo_index.arrays import Bools, Float16, Float64, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.searching import SearchOptions, require_answers, search
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.threshold import Threshold
from histo_index.search.classification.answer import Classifier
from histo_index.search.classification.fit import equal_weights
from histo_index.search.classification.fit_index import fit_class_model
from histo_index.search.classification.held_out import split_groups
from histo_index.search.classification.measure import estimate, slope_statistic
from histo_index.search.inputs.labelled_pairs import LabelledPairs, make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.resolve import Located, vectors_of

RANKS: Final = (1, 3, 5, 10)
BINS: Final = 5
LEVEL: Final = 0.99
# Drawings of outcomes as probabilities say, for the calibration error that chance alone makes.
DRAWINGS: Final = 200


@dataclass(frozen=True, kw_only=True)
class Said:
    """Probabilities and what came true.

    Attributes:
        chances: float64 [n].
        is_true: bool [n].
        groups: int64 [n].
    """

    chances: Float64
    is_true: Bools
    groups: Int64


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table.

    Attributes:
        name: which probabilities.
        count: how many.
        mean: their mean.
        difference: their mean less the share that came true.
        slope: the calibration slope.
        error: calibration error in bins of equal size.
        by_chance: what it is on average for probabilities without any error.
    """

    name: str
    count: int
    mean: float
    difference: Estimate
    slope: Estimate
    error: float
    by_chance: float

    @property
    def is_passed(self) -> bool:
        """Whether the intervals contain 0 and 1."""
        return _contains(self.difference, 0) and _contains(self.slope, 1)


def _contains(found: Estimate, value: float) -> bool:
    return found.low is None or found.high is None or found.low <= value <= found.high


def measure(path: Path, *, folds: int = 5) -> list[Line]:
    """Measure the probabilities that tiles of held-out groups of an index get."""
    index = OpenIndex(path)
    labels = read_labels(index)
    classes = np.array(labels.labels)
    groups = np.unique(labels.groups, return_inverse=True)[1]
    embeddings = read_embeddings(index, labels.rows)
    split = split_groups(groups, np.unique(classes, return_inverse=True)[1], folds=folds)
    parts = [_fold(embeddings, classes, groups, split == fold) for fold in range(folds)]
    names = parts[0].keys()
    return [measure_one(name, _join([part[name] for part in parts])) for name in names]


def _fold(
    embeddings: Float16, classes: "np.ndarray", groups: Int64, is_held: Bools
) -> dict[str, Said]:
    """Fit to the tiles that are not held out, and search the others."""
    with tempfile.TemporaryDirectory() as folder:
        made, dataset = index_kept(Path(folder), embeddings, classes, groups, ~is_held)
        model = fit_class_model(made.opened, dataset)
        if isinstance(model, str):
            sys.exit(model)
        held = np.flatnonzero(is_held & np.isin(classes, model.names))
        vectors = vectors_of(made.opened, embeddings[held])
        located = [Located(name=str(row), vector=v) for row, v in zip(held, vectors, strict=True)]
        classifier = Classifier(made.opened, model)
        answers = classifier.classify(located)
        found = require_answers(
            search(
                made.opened, located, Threshold(value=1.0, origin="any"),
                SearchOptions(k=max(RANKS)), classifier=classifier,
            )
        )  # fmt: skip
    truth, own = classes[held], groups[held]
    said: dict[str, Said] = {}
    for rank in RANKS:
        near = [neighbours[rank - 1] for neighbours in found]
        has_chance = np.array([one.probability is not None for one in near])
        said[f"rank {rank}"] = Said(
            chances=np.array([one.probability for one in near if one.probability is not None]),
            is_true=np.array([one.label for one in near])[has_chance] == truth[has_chance],
            groups=own[has_chance],
        )
    chances = np.array(
        [
            [{c.label: c.probability for c in answer.chances}[name] for name in model.names]
            for answer in answers
        ]
    )
    for code, name in enumerate(model.names):
        said[name] = Said(chances=chances[:, code], is_true=truth == name, groups=own)
    best = chances.argmax(axis=1)
    said["likeliest"] = Said(
        chances=chances.max(axis=1), is_true=np.array(model.names)[best] == truth, groups=own
    )
    said["all classes"] = Said(
        chances=chances.ravel(),
        is_true=(truth[:, None] == np.array(model.names)).ravel(),
        groups=np.repeat(own, len(model.names)),
    )
    return said


def index_kept(
    folder: Path, embeddings: Float16, classes: "np.ndarray", groups: Int64, is_kept: Bools
) -> tuple[Index, LabelledPairs]:
    """Make an index of some of the tiles, with their labels."""
    kept = np.flatnonzero(is_kept)
    made = histo_index.from_embeddings(
        [f"t{row}" for row in kept.tolist()], embeddings[kept].astype(np.float32),
        folder / "fold.hx",
        {"label": classes[kept].tolist(), "group": groups[kept].astype(str).tolist()},
    )  # fmt: skip
    return made, make_labelled_pairs(made.opened, read_labels(made.opened), None)


def _join(parts: list[Said]) -> Said:
    return Said(
        chances=np.concatenate([part.chances for part in parts]),
        is_true=np.concatenate([part.is_true for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
    )


def measure_one(name: str, said: Said) -> Line:
    """Measure one kind of probabilities."""
    errors = said.chances - said.is_true
    slope = slope_statistic(said.chances, said.is_true)
    difference, slope_found = estimate(
        lambda w: np.array([w @ errors / w.sum(), slope(w)]), said.groups, level=LEVEL
    )
    generator = np.random.default_rng(0)
    drawn = [
        bin_error(replace(said, is_true=generator.random(len(said.chances)) < said.chances))
        for _ in range(DRAWINGS)
    ]
    return Line(
        name=name,
        count=len(errors),
        mean=float(said.chances @ equal_weights(said.groups)),
        difference=difference,
        slope=slope_found,
        error=bin_error(said),
        by_chance=float(np.mean(drawn)),
    )


def bin_error(said: Said) -> float:
    """Compute the calibration error in bins of equal size."""
    parts = np.array_split(np.argsort(said.chances, kind="stable"), BINS)
    gaps = [abs(float((said.chances[part] - said.is_true[part]).mean())) for part in parts]
    sizes = [len(part) / len(said.chances) for part in parts]
    return float(np.dot(gaps, sizes))


def _ends(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:+.3f} ({found.low:+.3f}…{found.high:+.3f})"


def _is_within(found: Estimate, most: float | None) -> bool:
    return most is None or found.value is None or abs(found.value) <= most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path, nargs="+")
    parser.add_argument("--require", action="store_true", help="exit 1 if an interval misses")
    parser.add_argument("--most", type=float, help="with --require: largest mean difference")
    given = parser.parse_args()
    is_passed = True
    for path in given.index:
        print(
            f"\n{path.name}\n\n| probabilities | n | mean | less share right | slope | "
            "error, 5 bins | by chance | |\n|---|---|---|---|---|---|---|---|"
        )
        for line in measure(path):
            is_passed &= line.is_passed and _is_within(line.difference, given.most)
            print(
                f"| {line.name} | {line.count:,} | {line.mean:.3f} | {_ends(line.difference)} | "
                f"{_ends(line.slope)} | {line.error:.3f} | {line.by_chance:.3f} | "
                f"{'' if line.is_passed else 'missed'} |",
                flush=True,
            )
    sys.exit(0 if is_passed or not given.require else 1)


if __name__ == "__main__":
    main()
