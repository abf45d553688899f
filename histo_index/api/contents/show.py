"""Describe an open index in one line, and as a table for notebooks."""

from html import escape
from typing import Final

import pyarrow.compute as pc

from histo_index.indexer.format.shards import user_columns
from histo_index.indexer.reader import OpenIndex
from histo_index.wording import counted, printable

_CLASS_COLUMN: Final = "label"
_GROUP_COLUMN: Final = "group"
# Classes named; the others are counted.
_MOST_CLASSES: Final = 12


def describe(index: OpenIndex) -> str:
    """Describe an index in one line."""
    manifest = index.manifest
    return (
        f"<Index {printable(index.folder)}: {counted(manifest.tiles, 'tile')}, "
        f"{printable(manifest.encoder.title)}, {manifest.distance_kind} distances, "
        f"generation {manifest.generation}>"
    )


def describe_html(index: OpenIndex) -> str:
    """Describe an index as an HTML table, without private columns."""
    manifest, classes = index.manifest, count_classes(index)
    facts = {
        "tiles": f"{manifest.tiles:,}",
        "encoder": f"{manifest.encoder.title}, {manifest.embedding_size:,} numbers",
        "distance": manifest.distance_kind,
        "columns": ", ".join(column_names(index)) or "none of your own",
        "classes": _name_classes(classes),
        "groups": _count_groups(index),
        "created": f"{manifest.created}, generation {manifest.generation}",
    }
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{escape(printable(value))}</td></tr>"
        for name, value in facts.items()
        if value
    )
    title = f"histo-index: {escape(printable(index.folder.name))}"
    return f"<table><caption style='text-align:left'>{title}</caption>{rows}</table>"


def column_names(index: OpenIndex) -> list[str]:
    """List the user's own columns that are shown."""
    return [name for name in user_columns(index.rows) if name != "stem"]


def count_classes(index: OpenIndex, column: str = _CLASS_COLUMN) -> dict[str, int]:
    """Count the tiles of each class, the largest first; empty without such a column."""
    if column not in index.rows.column_names:
        return {}
    values = index.rows[column].take(index.live_rows()).drop_null()
    counts = [(str(row["values"]), row["counts"]) for row in pc.value_counts(values).to_pylist()]
    return dict(sorted(counts, key=lambda entry: (-entry[1], entry[0])))


def _name_classes(classes: dict[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in classes.items()][:_MOST_CLASSES]
    more = len(classes) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _count_groups(index: OpenIndex) -> str:
    groups = count_classes(index, _GROUP_COLUMN)
    return f"{len(groups):,}" if groups else ""
