"""Name the tiles of slides, and give them their columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.errors import InputError
from histo_index.features.choose import Chosen
from histo_index.features.containers.own_columns import IDS, TYPES
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import LARGEST_MPP, REMEDY, SMALLEST_MPP

# What a tile of a slide has, in this order, as `build` writes it.
SLIDE_COLUMNS: Final = {
    "slide_id": pa.string(),
    "x": pa.int64(),
    "y": pa.int64(),
    "mpp": pa.float64(),
    "size": pa.int32(),
}
_FIRST: Final = {
    IDS: pa.string(),
    "path": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
}
# Which file a row came from, so that the next import knows what it need not read again.
FILE: Final = "features_file"
_LARGEST_PX: Final = 99_999
# A path that leads out of the folder of the tiles: absolute, or by `..`.
_LEADS_OUT: Final = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00"


@dataclass(frozen=True, kw_only=True)
class SlideFound:
    """A slide, as far as tiles need it.

    Attributes:
        path: as paths of tiles name it.
        mpp: microns per level-0 pixel; None if unknown.
        is_given: the user gave them.
    """

    path: str
    mpp: float | None = None
    is_given: bool = False


@dataclass(frozen=True, kw_only=True)
class SlideTiles:
    """What all tiles of a matrix have in common.

    Attributes:
        slide: their slide.
        mpp: microns per pixel of the tiles.
        size: side in pixels.
    """

    slide: SlideFound
    mpp: float
    size: int


def name_tiles(chosen: Chosen, slide: SlideFound) -> SlideTiles:
    """Settle scale and size of the tiles of a matrix.

    Raises:
        InputError: the scale is unknown or unusable.
    """
    facts = chosen.facts
    assert facts.size_px is not None
    mpp = facts.mpp
    if mpp is None and slide.mpp is not None and facts.span_px is not None:
        mpp = slide.mpp * facts.span_px / facts.size_px
    if mpp is None:
        raise InputError(
            f"no scale: {facts.tool} stores none in microns per pixel; pass --slides DIR with the "
            f"slides, or {REMEDY.removeprefix('pass ')}"
        )
    mpp = float(f"{mpp:.6g}")
    if not SMALLEST_MPP <= mpp <= LARGEST_MPP or facts.size_px > _LARGEST_PX:
        raise InputError(
            f"no usable scale: tiles of {facts.size_px:,} pixels at {mpp:g} microns per pixel"
        )
    return SlideTiles(slide=slide, mpp=mpp, size=facts.size_px)


def slide_rows(places: pa.Table, tiles: SlideTiles) -> pa.Table:
    """Name tiles by their places: `x` and `y` of each, in level-0 pixels."""
    tile = SlideTile(
        slide=tiles.slide.path, x=0, y=0, mpp=tiles.mpp, size=tiles.size,
        slide_mpp=tiles.slide.mpp if tiles.slide.is_given else None,
    )  # fmt: skip
    x, y = (places[name].cast(pa.string()) for name in ("x", "y"))
    names = pc.binary_join_element_wise(f"{tile.slide}#x=", x, ",y=", y, tile.scale, "")
    count = len(places)
    sides = pa.repeat(pa.scalar(tiles.size, pa.int32()), count)
    return pa.table(
        {
            IDS: names,
            "path": names,
            "width": sides,
            "height": sides,
            "slide_id": pa.repeat(pa.scalar(tile.slide, pa.string()), count),
            "x": places["x"],
            "y": places["y"],
            "mpp": pa.repeat(pa.scalar(tiles.mpp, pa.float64()), count),
            "size": sides,
        }
    )


def join_schema(
    chosen: Sequence[Chosen], metadata: pa.Schema, *, name: str = "--metadata"
) -> pa.Schema:
    """Choose the columns of the index: of slide tiles, of what rows bring along, of the metadata.

    Raises:
        InputError: the metadata have a column that is written otherwise.
    """
    fields: dict[str, pa.DataType] = dict(_FIRST)
    if any(one.facts.slide is not None for one in chosen):
        fields |= SLIDE_COLUMNS
    for one in chosen:
        for column, kind in one.facts.columns.items():
            known, new = fields.get(column), TYPES[kind]
            fields[column] = new if known is None else _wider(known, new)
    fields[FILE] = pa.string()
    for column in metadata:
        if column.name in fields:
            raise InputError(f"{name}: column `{column.name}` is written by the import; rename it")
        fields[column.name] = column.type
    return pa.schema(list(fields.items()))


def _wider(known: pa.DataType, new: pa.DataType) -> pa.DataType:
    """Return a type that holds the values of both; that of slide tiles and our own stays."""
    if known == new or known in (*_FIRST.values(), *SLIDE_COLUMNS.values()):
        return known
    return pa.float64() if {known, new} == {pa.int64(), pa.float64()} else pa.string()


def fill_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring rows to the columns of the index; those they lack are null, paths stay in their folder.

    Raises:
        InputError: a value does not fit its column.
    """
    columns = []
    for column in schema:
        if column.name == "path":
            columns.append(_inside(rows["path" if "path" in rows.column_names else IDS]))
        elif column.name in rows.column_names:
            columns.append(_cast(rows[column.name], column))
        else:
            columns.append(pa.nulls(len(rows), column.type))
    return pa.table(columns, schema=schema)


def _inside(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Rewrite paths that lead out of the folder of the tiles: no picture is read through them."""
    paths = paths.cast(pa.string())
    leads_out = pc.match_substring_regex(paths, _LEADS_OUT)
    if not pc.any(leads_out).as_py():
        return paths
    harmless = pc.replace_substring_regex(paths, r"\.\.|\x00", "…")
    return pc.if_else(leads_out, pc.binary_join_element_wise("…", harmless, "/"), paths)


def _cast(values: pa.ChunkedArray, column: pa.Field) -> pa.ChunkedArray:
    try:
        return values.cast(column.type)
    except pa.ArrowException as error:
        raise InputError(
            f"column {column.name}: values that are no {column.type}; rename the column"
        ) from error
