"""Evaluate encoders on labelled tiles that were not used for any choice.

By each distance that an index may have. Pairs and neighbours are across groups (slides, fields)
only; every figure has its 95 % interval from resampling groups. Floors: colour alone, and the same
architecture with random weights, by the same distance.
"""

import itertools
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import measuring

import histo_index
from histo_index.encoder.folder import bundled_encoder
from histo_index.indexer.format.records import THRESHOLDS
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.baselines import RANDOM
from histo_index.search.evaluation.compare import CROSS_VALIDATED
from histo_index.search.evaluation.result import Contender

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "eval"
SETS: Final = ("kather2016", "lc25000")
DISTANCES: Final = tuple(THRESHOLDS)
PAIRS: Final = {
    "roc_auc": "pair ROC-AUC",
    "balanced_accuracy": "balanced accuracy, published threshold",
    CROSS_VALIDATED: "accuracy, threshold fitted on other groups",
}
NEIGHBOURS: Final = {"accuracy@1": "nearest right", "vote@5": "majority of 5 right"}


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--data", type=Path, default=DATA, help="folder of the labelled sets")
    options.add_argument(
        "--encoder", action="append", metavar="NAME=DIR", help="repeat; left out, the bundled one"
    )
    given = options.parse_args()
    logging.basicConfig(format="%(message)s")
    encoders = {"bundled": bundled_encoder()}
    if given.encoder:
        named = [entry.partition("=") for entry in given.encoder]
        encoders = {name: Path(folder) for name, _, folder in named}
    measuring.print_machine()
    for name in SETS:
        labels = given.data / name / "labels.csv"
        if not labels.is_file():
            print(f"{labels}: no such file, so there is nothing to measure")
            continue
        report(name, judge(labels, encoders))


def judge(labels: Path, encoders: Mapping[str, Path]) -> dict[str, Contender]:
    """Judge every encoder on one set, and the baselines once: contenders by name."""
    found: dict[str, Contender] = {}
    with tempfile.TemporaryDirectory(prefix="histo-index-quality-") as scratch:
        for (name, encoder), distance in itertools.product(encoders.items(), DISTANCES):
            measuring.tell(f"{labels.parent.name}: {name}, {distance}")
            output = Path(scratch) / f"{len(found)}.hx"
            histo_index.build(labels, output, encoder=encoder, distance=distance)
            evaluation = histo_index.open(output).evaluate(
                labels=labels, pairs=labels.with_name("pairs.csv")
            )
            print(f"{labels.parent.name}, {name}, {distance}: {evaluation.headline}")
            for baseline in evaluation.baselines:
                leads = (f"{figure} {_shown(lead)}" for figure, lead in baseline.lead.items())
                print(f"  ahead of {baseline.name} by: {', '.join(leads)}")
            found[f"{name}, {distance}"] = evaluation.index
            for baseline in evaluation.baselines:
                is_by_distance = baseline.name == RANDOM
                found.setdefault(
                    f"{baseline.name}, {distance}" if is_by_distance else baseline.name, baseline
                )
    return found


def report(name: str, contenders: Mapping[str, Contender]) -> None:
    print(f"\n{name}\n")
    measuring.print_table(
        ("", *PAIRS.values(), *NEIGHBOURS.values()),
        [
            (
                who,
                *(_shown(contender.pairs.get(figure)) for figure in PAIRS),
                *(_shown(contender.retrieval["micro"].get(figure)) for figure in NEIGHBOURS),
            )
            for who, contender in contenders.items()
        ],
    )
    print()


def _shown(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f}…{estimate.high:.3f})"


if __name__ == "__main__":
    main()
