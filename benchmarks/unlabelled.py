"""Accuracy of `calibrate --unlabelled` compared with labels, on the evaluation sets.

Nothing is chosen here. Pairs are drawn from the classes, across groups, half of them same; losses
have a 95 % interval from resampling groups, both ways judged on the same pairs.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import measuring
import numpy as np
from encoder_quality import DATA, SETS

import histo_index
from histo_index.api.evaluate import read_labelled_pairs
from histo_index.arrays import Bools, Float64
from histo_index.encoder.folder import bundled_encoder
from histo_index.search import pair_metrics
from histo_index.search.calibration.cross_validation import cross_validate
from histo_index.search.calibration.fit import fit_threshold
from histo_index.search.calibration.objectives import Objective
from histo_index.search.distance import pair_distances
from histo_index.search.evaluation.compare import difference, estimates
from histo_index.search.inputs.labelled_pairs import LabelledPairs

Verdicts = Mapping[str, tuple[float | None, Bools]]

REFERENCE = "labels of other groups"


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--data", type=Path, default=DATA, help="folder of the labelled sets")
    options.add_argument("--encoder", type=Path, help="left out, the bundled one")
    given = options.parse_args()
    logging.basicConfig(format="%(message)s")
    measuring.print_machine()
    lines: list[tuple[str, ...]] = []
    for name in SETS:
        dataset, verdicts = judge(given.data / name / "labels.csv", given.encoder)
        lines += [(name, *line) for line in compare(dataset, verdicts)]
    header = ("set", "threshold from", "threshold", "accuracy", "points gained over the first")
    measuring.print_table(header, lines)


def judge(labels: Path, encoder: Path | None) -> tuple[LabelledPairs, Verdicts]:
    """Index a set and call its pairs same or not by each threshold."""
    with tempfile.TemporaryDirectory(prefix="histo-index-unlabelled-") as scratch:
        output = Path(scratch) / "tiles.hx"
        histo_index.build(labels, output, encoder=encoder or bundled_encoder())
        index = histo_index.open(output)
        published = index.threshold().value
        guessed = index.calibrate(unlabelled=True).threshold.value
        dataset = read_labelled_pairs(index.opened, pairs=None, labels=None, label=None, group=None)
        vectors = index.opened.vectors(dataset.rows)
        found = pair_distances(vectors[dataset.left], vectors[dataset.right]).astype(np.float64)
    sample = dataset.sample(found, 0.5)
    cuts = {
        "labels of the same pairs": fit_threshold(sample, Objective()),
        "no labels": guessed,
        "the encoder, as published": published,
    }
    called = {name: (cut, found <= cut) for name, cut in cuts.items() if cut is not None}
    return dataset, {REFERENCE: (None, cross_validate(sample, Objective())[0]), **called}


def compare(dataset: LabelledPairs, verdicts: Verdicts) -> Iterator[tuple[str, ...]]:
    """Give each threshold's accuracy, and how far it is from the first's."""
    units = dataset.groups[dataset.left], dataset.groups[dataset.right]
    first = None
    for name, (cut, called) in verdicts.items():
        is_right = (called == dataset.is_same).astype(np.float64)
        first = is_right if first is None else first
        (share,) = estimates(partial(means, is_right[None]), *units)
        gain = difference(partial(pair_metrics.mean, is_right - first), *units)
        yield (
            name,
            "several" if cut is None else f"{cut:.4g}",
            f"{share.value:.3f} ({share.low:.3f}…{share.high:.3f})",
            f"{100 * (gain.value or 0):+.1f}"
            + ("" if name == REFERENCE else f" ({_points(gain.low)}…{_points(gain.high)})"),
        )


def means(values: Float64, weights: Float64) -> Float64:
    averages: Float64 = values @ weights / weights.sum()
    return averages


def _points(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:+.1f}"


if __name__ == "__main__":
    main()
