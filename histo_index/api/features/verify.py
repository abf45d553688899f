"""Verify a declared encoder: encode some tiles again, and compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.api.contents.arrays import read_embeddings
from histo_index.api.features.slides import SlideFolder, open_folder
from histo_index.arrays import Float64, Int64
from histo_index.errors import ImageError, InputError, MismatchError
from histo_index.indexer.declared.verified import require_declared, store_verified
from histo_index.indexer.format.encoder_card import VerifiedEncoder
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import track
from histo_index.slides.reading.identity import parse_tile
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder

LEAST_TILES: Final = 100
MOST_TILES: Final = 1000
LEAST_MEDIAN: Final = 0.995
_QUANTILES: Final = {"lowest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "95 %": 0.95}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How well an encoder reproduces the embeddings of an index.

    Attributes:
        index: the index folder.
        encoder: the encoder folder.
        is_verified: the median cosine is at least LEAST_MEDIAN.
        tiles: how many were encoded again.
        slides: of how many slides; 0 if they are of none.
        cosines: quantile to cosine of stored and new embedding.
    """

    index: Path
    encoder: Path
    is_verified: bool
    tiles: int
    slides: int
    cosines: Mapping[str, float]

    @property
    def lines(self) -> list[str]:
        """The result, in two lines."""
        of = f" of {counted(self.slides, 'slide')}" if self.slides else ""
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.cosines.items())
        outcome = (
            "verified: new images are answered"
            if self.is_verified
            else f"not verified: expected a median of {LEAST_MEDIAN}; check the encoder, its "
            "preprocessing, and the scale of the slides"
        )
        return [f"cosines   of {counted(self.tiles, 'tile')}{of}: {shown}", f"encoder   {outcome}"]


def verify_encoder(
    index: str | Path,
    encoder: str | Path,
    *,
    slides: str | Path | None = None,
    device: str = "auto",
) -> Verification:
    """Encode at least 100 tiles again, drawn over all slides, and compare with what is stored.

    If the median cosine is at least 0.995 the encoder is copied into the index, which from then on
    encodes new images; else nothing changes.

    Args:
        index: an index made from embeddings.
        encoder: an encoder folder, as `encoder import` makes it.
        slides: folder of the slides or tile files; default: as imported.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        The comparison.

    Raises:
        InputError: the index has fewer tiles, or a tile cannot be read.
        MismatchError: the encoder has another embedding size.
    """
    from histo_index.api.encoders import open_encoder

    folder, opened = Path(index), OpenIndex(Path(index), private=True)
    require_declared(folder, opened.manifest)
    runner = open_encoder(encoder, device=device)
    if runner.embedding_size != opened.manifest.embedding_size:
        raise MismatchError(
            f"{folder} holds embeddings of {opened.manifest.embedding_size:,} numbers, but the "
            f"encoder {encoder} has {runner.embedding_size:,}; pass the one that computed them"
        )
    rows, count = _draw(opened)
    paths = _locate(opened, rows, None if slides is None else Path(slides))
    cosines = _compare(runner, paths, read_embeddings(opened, rows))
    found = {name: float(np.quantile(cosines, q)) for name, q in _QUANTILES.items()}
    is_verified = found["median"] >= LEAST_MEDIAN
    if is_verified:
        record = VerifiedEncoder(
            fingerprint=runner.fingerprint, tiles=len(rows), slides=count, cosines=found
        )
        store_verified(folder, runner.folder, runner.card(), record)
    return Verification(
        index=folder, encoder=Path(encoder), is_verified=is_verified, tiles=len(rows),
        slides=count, cosines=found,
    )  # fmt: skip


def _draw(index: OpenIndex) -> tuple[Int64, int]:
    """Draw tiles over all slides by a fixed seed: rows int64 [n], ascending; and the slides."""
    rows = index.live_rows()
    if len(rows) < LEAST_TILES:
        raise InputError(
            f"{index.folder}: {counted(len(rows), 'tile')}; verifying takes {LEAST_TILES}"
        )
    shuffled = np.random.default_rng(0).permutation(rows)
    groups: npt.NDArray[np.int64] = np.zeros(len(rows), np.int64)
    if "slide_id" in index.rows.column_names:
        column = index.rows["slide_id"].take(pa.array(shuffled)).combine_chunks()
        groups = column.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    count = len(np.unique(groups))
    each = -(-LEAST_TILES // count)
    # The first of each slide, then the second, and so on.
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-2))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    first = shuffled[np.lexsort((np.arange(len(rows)), rank))]
    total = min(max(LEAST_TILES, min(each * count, MOST_TILES)), len(rows))
    is_of_slides = "slide_id" in index.rows.column_names
    return np.sort(first[:total]), count if is_of_slides else 0


def _locate(index: OpenIndex, rows: Int64, folder: Path | None) -> list[Path]:
    names = index.rows["path"].take(pa.array(rows)).to_pylist()
    if folder is None:
        root = index.manifest.tiles_root(index.folder)
        return [root / name for name in names]
    slides: SlideFolder | None = None
    paths = []
    for name in names:
        tile = parse_tile(name)
        if tile is None:
            paths.append(folder / name)
            continue
        slides = slides or open_folder(folder, {})
        place = slides.find(Path(tile.slide).name).path
        paths.append(folder / f"{place}{tile.position}")
    return paths


def _compare(encoder: "Encoder", paths: list[Path], stored: npt.NDArray[np.float32]) -> Float64:
    """Compute the cosine of each stored embedding and a new one: float64 [n]."""
    found = np.empty(len(paths))
    results = track(encoder.encode_files(paths), "encoding", total=len(paths))
    for row, result in enumerate(results):
        if isinstance(result, ImageError):
            raise InputError(f"{result}; pass the folder of the slides, --slides DIR")
        new = result.embedding.astype(np.float64)
        old = stored[row].astype(np.float64)
        found[row] = new @ old / np.linalg.norm(new) / np.linalg.norm(old)
    return found
