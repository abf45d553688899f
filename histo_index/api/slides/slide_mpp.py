"""Read the scales of slides that the user lists."""

from pathlib import Path
from typing import Any

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.slides.reading.info import LARGEST_MPP, SMALLEST_MPP
from histo_index.slides.tiling.options import SlideSource, TileOptions


def read_slide_mpp(path: Path | None) -> dict[str, float]:
    """Read a table with the columns `slide` and `mpp`.

    Returns:
        Path, file name or stem of a slide to microns per level-0 pixel; empty without a table.

    Raises:
        InputError: it cannot be read, lacks a column, or a value is no scale.
    """
    if path is None:
        return {}
    table = read_table(path)
    for name in ("slide", "mpp"):
        if name not in table.column_names:
            found = ", ".join(table.column_names[:8])
            raise InputError(f"{path}: no column `{name}`; found {found or 'none'}")
    scales: dict[str, float] = {}
    for row in table.select(["slide", "mpp"]).to_pylist():
        try:
            mpp = float(row["mpp"])
        except (TypeError, ValueError):
            mpp = float("nan")
        if not SMALLEST_MPP <= mpp <= LARGEST_MPP:
            raise InputError(
                f"{path}: mpp {row['mpp']!r} of {row['slide']}; expected {SMALLEST_MPP:g} to "
                f"{LARGEST_MPP:g} microns per pixel"
            )
        scales[str(row["slide"])] = mpp
    return scales


def slide_source(mpp: float | None, slide_mpp: Path | None, **options: Any) -> SlideSource | None:
    """Describe how a build cuts slides; None without a scale.

    Args:
        mpp: microns per pixel of the tiles.
        slide_mpp: a table for `read_slide_mpp`.
        options: the other fields of `TileOptions`.

    Raises:
        InputError: a value cannot be used.
    """
    if mpp is None:
        if slide_mpp is not None:
            raise InputError("--slide-mpp needs --mpp, the scale that slides are cut at")
        return None
    cut = TileOptions(mpp=mpp, **options)
    return SlideSource(options=cut, slide_mpp=read_slide_mpp(slide_mpp))
