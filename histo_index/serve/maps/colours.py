"""Colours of the map: one number a tile, by a column that clients may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Floats, Int64
from histo_index.serve.maps.view import MapView
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.wording import printable

# The name of our own colour; a column of the user that is called so is `tile_novelty`.
NOVELTY: Final = "novelty"
MOST_CATEGORIES: Final = 12
OTHER: Final = 254
NONE: Final = 255
# Codes of a scale are 0 to this.
SCALE: Final = 253
_ENDS: Final = (1, 99)

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Category:
    """A value of a column that has its own colour.

    Attributes:
        value: as text.
        tiles: how many tiles have it.
    """

    value: str
    tiles: int


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """How the tiles of a map are coloured.

    Attributes:
        column: what by.
        codes: uint8 [N]: the number of a category, a step of the scale, OTHER or NONE.
        categories: the commonest values, the first one first; empty of a scale.
        low: what code 0 means, as text; None of categories.
        high: what code SCALE means.
        other: tiles with a rarer value.
        none: tiles without a value.
    """

    column: str
    codes: Codes
    categories: Sequence[Category] = ()
    low: str | None = None
    high: str | None = None
    other: int = 0
    none: int = 0


def list_columns(snapshot: Snapshot) -> dict[str, str]:
    """List what tiles can be coloured by: name to `category` or `number`."""
    found = {
        _shown(name): kind
        for name in snapshot.columns
        if (kind := _kind(snapshot.opened.rows.schema.field(name).type))
    }
    return {**found, NOVELTY: "number"}


def usual_column(snapshot: Snapshot) -> str:
    """Return what tiles are coloured by if nobody asks for a column."""
    columns = list_columns(snapshot)
    return next(name for name in ("label", "group", NOVELTY) if name in columns)


def colour(snapshot: Snapshot, view: MapView, column: str) -> Colouring:
    """Colour the tiles of a map.

    Raises:
        RefusalError: there is no such column: also if it is private or names tiles.
    """
    kinds = list_columns(snapshot)
    if column not in kinds:
        raise RefusalError(422, f"no such column; there are: {', '.join(map(printable, kinds))}")
    if column == NOVELTY:
        return _scale(column, view.nearest.astype(np.float64), None)
    own = next(name for name in snapshot.columns if _shown(name) == column)
    values = snapshot.opened.rows[own].take(pa.array(view.rows))
    if kinds[column] == "category":
        return _categories(column, values)
    if pa.types.is_temporal(values.type):
        return _scale(column, _numbers(_as_integers(values)), values)
    return _scale(column, _numbers(values), None)


def _shown(name: str) -> str:
    return f"tile_{name}" if name == NOVELTY else name


def _kind(type_: pa.DataType) -> str | None:
    types = pa.types
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_string(type_) or types.is_large_string(type_) or types.is_boolean(type_):
        return "category"
    is_number = types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_)
    is_time = types.is_date(type_) or types.is_timestamp(type_)
    return "number" if is_number or is_time else None


def _categories(column: str, values: pa.ChunkedArray) -> Colouring:
    encoded = values.cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    at: Int64 = pc.fill_null(encoded.indices, len(names)).to_numpy().astype(np.int64)
    counts = np.bincount(at, minlength=len(names) + 1)
    order = sorted(range(len(names)), key=lambda number: (-counts[number], names[number]))
    codes = np.full(len(names) + 1, OTHER, np.uint8)
    codes[-1] = NONE
    shown = order[:MOST_CATEGORIES]
    codes[shown] = np.arange(len(shown))
    return Colouring(
        column=column, codes=codes[at],
        categories=[Category(value=plain(names[n]), tiles=int(counts[n])) for n in shown],
        other=int(counts[order[MOST_CATEGORIES:]].sum()), none=int(counts[-1]),
    )  # fmt: skip


def _scale(column: str, numbers: Floats, times: pa.ChunkedArray | None) -> Colouring:
    """Scale numbers between their first and 99th percentile; times are written as such."""
    is_there = np.isfinite(numbers)
    codes = np.full(len(numbers), NONE, np.uint8)
    none = int(np.count_nonzero(~is_there))
    if not is_there.any():
        return Colouring(column=column, codes=codes, low="–", high="–", none=none)
    low, high = (float(end) for end in np.percentile(numbers[is_there], _ENDS))
    steps = SCALE * (numbers[is_there] - low) / ((high - low) or 1.0)
    codes[is_there] = np.clip(np.round(steps), 0, SCALE).astype(np.uint8)
    ends = [_write(end, times) for end in (low, high)]
    return Colouring(column=column, codes=codes, low=ends[0], high=ends[1], none=none)


def _write(end: float, times: pa.ChunkedArray | None) -> str:
    if times is None:
        return f"{end:.4g}"
    wide = pa.int32() if times.type.bit_width == 32 else pa.int64()
    return str(plain(pa.scalar(round(end), wide).cast(times.type).as_py()))


def _as_integers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64())


def _numbers(values: pa.ChunkedArray) -> Floats:
    found: Any = values.cast(pa.float64(), safe=False).to_numpy()
    numbers: Floats = np.where(np.asarray(values.is_null().to_numpy()), np.nan, found)
    return numbers
