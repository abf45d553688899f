"""Metadata of slides and tiles: a table that joins by the slide's name, or by image id."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from histo_index.errors import InputError
from histo_index.features.slide_names import SlideNames
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tile_list import RESERVED
from histo_index.wording import counted, printable

_SLIDE: Final = ("slide", "slide_id")
_TILE: Final = "image_id"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The columns of slides or tiles.

    Attributes:
        name: of the file.
        table: the columns that an index gets.
        by_slide: name of a slide to its row; None where the table names tiles.
        by_tile: image id to its row.
    """

    name: str = "--metadata"
    table: pa.Table = field(default_factory=lambda: pa.table({}))
    by_slide: SlideNames[int] | None = None
    by_tile: dict[str, int] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """The columns that an index gets."""
        return self.table.schema

    def join(self, rows: pa.Table) -> pa.Table:
        """Append the columns to tiles by their `slide_id` or `image_id`; null where unknown.

        Raises:
            InputError: the table has several rows for a slide.
        """
        if not self.table.num_columns:
            return rows
        if self.by_slide is None:
            names = rows[_TILE].to_pylist()
            at = pa.array([self.by_tile.get(name) for name in names], pa.int64())
        elif "slide_id" in rows.column_names:
            coded = rows["slide_id"].combine_chunks().dictionary_encode()
            known = [self.find_slide(name) for name in coded.dictionary.to_pylist()]
            at = pa.array(known, pa.int64()).take(coded.indices)
        else:
            at = pa.nulls(len(rows), pa.int64())
        for column in self.schema:
            rows = rows.append_column(column, self.table[column.name].take(at))
        return rows

    def find_slide(self, name: str) -> int | None:
        """Return the row of a slide; None if the table has none.

        Raises:
            InputError: it has several.
        """
        found = [] if self.by_slide is None else self.by_slide.find(name)
        if len(found) > 1:
            raise InputError(
                f"{self.name}: {counted(len(found), 'row')} for slide {printable(name)}; name "
                "slides by their path"
            )
        return found[0] if found else None

    def values(self, slide: str | None) -> Any:
        """Return what the table says of a slide, or all of it where it joins by tile."""
        if self.by_slide is None or slide is None:
            return self.table.to_pydict() | {_TILE: list(self.by_tile)}
        row = self.find_slide(slide)
        return None if row is None else self.table.slice(row, 1).to_pylist()


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
        return Metadata(name=str(path), table=table, by_tile=rows)
    return Metadata(name=str(path), table=table, by_slide=SlideNames(rows.items()))
