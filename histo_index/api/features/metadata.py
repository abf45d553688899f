"""Metadata of slides and tiles: a table that joins by the slide's name, or by image id."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.features.sources import OwnMetadata
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tile_list import RESERVED
from histo_index.wording import printable

_SLIDE: Final = ("slide", "slide_id")
_TILE: Final = "image_id"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The columns of slides or tiles.

    Attributes:
        schema: of the columns that an index gets.
        by_slide: name of a slide to its values.
        by_tile: those of rows that bring their own image ids.
    """

    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    by_slide: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_tile: OwnMetadata = field(default_factory=OwnMetadata)

    def of_slide(self, *names: str) -> Mapping[str, Any]:
        """Return the values of a slide by the first of its names that the table has."""
        return next((self.by_slide[name] for name in names if name in self.by_slide), {})


def read_metadata(path: Path | None) -> Metadata:
    """Read a table with the column `slide` or `image_id`; its other columns go into the index.

    Raises:
        InputError: it cannot be used.
    """
    if path is None:
        return Metadata()
    table = read_table(path)
    key = next((name for name in (*_SLIDE, _TILE) if name in table.column_names), None)
    if key is None:
        found = printable(", ".join(table.column_names[:8]))[:200]
        raise InputError(f"{path}: no column `slide` or `image_id`; found {found or 'none'}")
    names = ["" if name is None else str(name) for name in table[key].to_pylist()]
    table = table.drop_columns([key])
    if taken := sorted({*RESERVED, "path", _TILE, *_SLIDE} & set(table.column_names)):
        raise InputError(f"{path}: column `{taken[0]}` is written by the index; rename it")
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise InputError(f"{path}: {key} {printable(twice)!r} is there twice")
    if key == _TILE:
        return Metadata(schema=table.schema, by_tile=OwnMetadata(table=table, rows=rows))
    values = table.to_pylist()
    by_slide = {name: values[row] for name, row in rows.items()}
    # Tables name slides with or without their suffix and folder.
    by_slide = {Path(name).stem: own for name, own in by_slide.items()} | by_slide
    return Metadata(schema=table.schema, by_slide=by_slide)
