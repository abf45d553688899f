"""The scale of an index, its encoder and its queries."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import ImageError, InputError
from histo_index.indexer.format.manifest import MANIFEST_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import parse_tile
from histo_index.slides.scale import compare_scales, network_scale
from histo_index.slides.tiling.options import SlideSource
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder

_log = logging.getLogger(__name__)

# The column with microns per pixel of a tile.
COLUMN: Final = "mpp"
_DEFAULT_PX: Final = 224
ANY_MPP: Final = "pass tiles of one scale, or --any-mpp to compare them nevertheless"


def index_scale(index: OpenIndex) -> tuple[float | None, float | None]:
    """Return the finest and coarsest scale of tiles in µm per network pixel; None if unknown."""
    table = index.rows
    if COLUMN not in table.column_names or not _is_number(table[COLUMN].type):
        return None, None
    known = table.select([COLUMN, "width", "height"]).take(index.live_rows()).drop_null()
    mpp = known[COLUMN].cast(pa.float64()).to_numpy()
    side = pc.min_element_wise(known["width"], known["height"]).to_numpy()
    scales = (mpp * side)[(mpp > 0) & np.isfinite(mpp)] / _resize_px(index.folder)
    return (float(scales.min()), float(scales.max())) if len(scales) else (None, None)


def describe_scale(index: OpenIndex) -> dict[str, Any]:
    """Describe the scale of an index, and how it compares with that of its encoder."""
    low, high = index_scale(index)
    encoder = index.manifest.encoder.mpp
    check = compare_scales(high, encoder, name="the index", other_name="the encoder")
    return {
        "um_per_network_px": None if low is None else sorted({low, high or low}),
        "field_um": None if low is None else low * _resize_px(index.folder),
        "encoder_um_per_px": encoder,
        "check": check.message or "the index has the scale of the encoder",
    }


def check_cut(
    index: Path | None, encoder: "Encoder", slides: SlideSource | None, *, any_mpp: bool
) -> None:
    """Compare the scale that slides are cut at with that of the encoder and of the index.

    Warns of a difference of more than 5 %.

    Args:
        index: the index that the tiles are added to; None for a new or replaced one.
        encoder: the encoder of the build.
        slides: how slides are cut; None if none are.
        any_mpp: accept any difference.

    Raises:
        InputError: they differ by more than a factor of 1.5.
    """
    if slides is None:
        return
    size, resize_px = slides.options.tile_size, encoder.config.preprocessing.resize_px
    own = network_scale(slides.options.mpp, size, size, resize_px=resize_px)
    others = {"the encoder": encoder.config.mpp}
    if index is not None and (index / MANIFEST_NAME).exists():
        others["the index"], _ = index_scale(OpenIndex(index))
    for name, scale in others.items():
        check = compare_scales(own, scale, name="the cut", other_name=name)
        if check.is_refused and not any_mpp:
            raise InputError(f"--mpp {slides.options.mpp:g}: {check.message}; {ANY_MPP}")
        if check.ratio is not None and check.message:
            _log.warning("--mpp %g: %s", slides.options.mpp, check.message)


def check_queries(
    index: OpenIndex, paths: Sequence[Path], *, any_mpp: bool
) -> Iterator[ImageError | None]:
    """Compare the scale of each image that is not indexed with that of the index.

    Warns once of those that differ by more than 5 %.

    Yields:
        None, or why an image is refused: it differs by more than a factor of 1.5.
    """
    scale, _ = index_scale(index)
    resize_px = _resize_px(index.folder)
    warnings = []
    for path in paths:
        own = None
        if (tile := parse_tile(path)) is not None:
            own = network_scale(tile.mpp, tile.size, tile.size, resize_px=resize_px)
        check = compare_scales(own, scale, name="the image", other_name="the index")
        if check.is_refused and not any_mpp:
            yield ImageError(f"{printable(path)}: another scale: {check.message}; {ANY_MPP}")
            continue
        warnings += [check.message] if check.ratio and check.message else []
        yield None
    if warnings:
        _log.warning("%s: another scale: %s", counted(len(warnings), "image"), warnings[0])


def report_unchecked(index: OpenIndex, encoded: Sequence[Path]) -> None:
    """Log how many images have no scale to compare with that of the index, if it has one.

    Args:
        index: the index that they are compared with.
        encoded: the images that could be read and are not in the index.
    """
    unknown = sum(parse_tile(path) is None for path in encoded)
    if unknown and index_scale(index) != (None, None):
        _log.info("scale unchecked: microns per pixel of %s are unknown", counted(unknown, "image"))


def _resize_px(folder: Path) -> int:
    """Return the shorter side that the encoder of an index resizes tiles to."""
    try:
        config = json.loads((folder / "encoder" / "config.json").read_bytes())
        return int(config["preprocessing"]["resize_px"])
    except (OSError, ValueError, KeyError, TypeError):
        # Embeddings of another program: only the ratio of two scales counts.
        return _DEFAULT_PX


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
