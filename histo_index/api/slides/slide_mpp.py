"""Read the scales of slides that the user lists."""

from pathlib import Path

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.slides.reading.info import LARGEST_MPP, SMALLEST_MPP


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
