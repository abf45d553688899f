"""Real tiles: one build and one pair list each, and how well distances tell tissues apart.

No threshold is chosen here and nothing is fitted: these sets are for judging only.
"""

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import numpy.typing as npt
import pyarrow.csv as pa_csv
from PIL import Image

import histo_index
from histo_index.commands.result_files import write_scores

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "eval"
SETS: Final = ("kather2016", "lc25000")
# A joint histogram of 8 × 8 × 8 colours: what any encoder must beat to have learnt something.
_LEVELS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one set gave; see the columns of the table."""

    name: str
    tiles: int
    images_per_second: float
    pairs: int
    pairs_seconds: float
    encoder_auc: float
    colour_auc: float


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--data", type=Path, default=DATA, help="folder of the labelled sets")
    options.add_argument(
        "--encoder", type=Path, help="encoder folder; left out, an untrained ResNeXt-50"
    )
    options.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    given = options.parse_args()
    sets = [given.data / name for name in SETS if (given.data / name / "labels.csv").is_file()]
    if not sets:
        print(f"{given.data}: no labelled sets here, so there is nothing to measure")
        return
    logging.basicConfig(format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="histo-index-real-") as name:
        encoder = given.encoder or make_untrained(Path(name) / "encoder")
        results = [
            measure(folder, encoder, Path(name), precision=given.precision) for folder in sets
        ]
    measuring.print_machine()
    report(results, encoder=str(given.encoder or "untrained ResNeXt-50"))


def make_untrained(folder: Path) -> Path:
    from histo_index.encoder.create import init_encoder

    init_encoder(folder, arch="resnext50_32x4d", seed=0)
    return folder


def measure(folder: Path, encoder: Path, scratch: Path, *, precision: str) -> Result:
    """Build an index of one set, score its pair list, and do the same by colour."""
    measuring.tell(f"building over {folder}")
    output = scratch / f"{folder.name}.hx"
    built = histo_index.build(folder / "labels.csv", output, encoder=encoder, precision=precision)
    started = time.perf_counter()
    scores = histo_index.open(output).pairs(folder / "pairs.csv")
    write_scores(scores, scratch / f"{folder.name}.csv", form="table")
    seconds = time.perf_counter() - started
    assert scores.answered == scores.pairs
    pairs = pa_csv.read_csv(folder / "pairs.csv")
    is_same = pairs["label"].to_numpy() == 1
    names = [pairs[column].to_pylist() for column in ("image_a", "image_b")]
    return Result(
        name=folder.name,
        tiles=built.tiles,
        images_per_second=built.images_per_second,
        pairs=scores.pairs,
        pairs_seconds=seconds,
        encoder_auc=roc_auc(scores.table["distance"].to_numpy(), is_same),
        colour_auc=roc_auc(colour_distances(folder, *names), is_same),
    )


def colour_distances(folder: Path, left: list[str], right: list[str]) -> npt.NDArray[np.float64]:
    """Measure how far apart the colours of each pair are: squared Hellinger distance, float64 [P].

    From 0 (the same colours in the same shares) to 1 (none in common).
    """
    roots = {name: np.sqrt(colour_shares(folder / name)) for name in {*left, *right}}
    overlaps = [roots[a] @ roots[b] for a, b in zip(left, right, strict=True)]
    return 1 - np.array(overlaps)


def colour_shares(path: Path) -> npt.NDArray[np.float64]:
    """Count which share of the pixels has which of 8 × 8 × 8 colours: float64 [512]."""
    levels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) // (256 // _LEVELS)
    codes = levels @ np.array([_LEVELS**2, _LEVELS, 1])
    return np.bincount(codes, minlength=_LEVELS**3) / len(codes)


def roc_auc(distances: npt.NDArray[np.floating], is_same: npt.NDArray[np.bool_]) -> float:
    """Tell how often a pair of the same tissue is closer than one of different tissues.

    0.5 is chance, 1 perfect; equal distances count half.

    Source: Mann and Whitney (1947), the U statistic by ranks.
    """
    _, codes, counts = np.unique(distances, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    same, different = int(is_same.sum()), int((~is_same).sum())
    wins = ranks[~is_same].sum() - different * (different + 1) / 2
    return float(wins / (same * different))


def report(results: list[Result], *, encoder: str) -> None:
    print(f"Encoder: {encoder}. Images/s are of the whole build, starting the runtime included.\n")
    header = (
        "set", "tiles", "images/s", "pairs", "pair list, s", "pair ROC-AUC", "by colour alone"
    )  # fmt: skip
    rows = [
        (
            result.name,
            f"{result.tiles:,}",
            f"{result.images_per_second:.1f}",
            f"{result.pairs:,}",
            f"{result.pairs_seconds:.2f}",
            f"{result.encoder_auc:.3f}",
            f"{result.colour_auc:.3f}",
        )
        for result in results
    ]
    measuring.print_table(header, rows)


if __name__ == "__main__":
    main()
