"""The record of removed tiles: file contents and standing rules that stay out of an index.

Both are rows of one table, `removed-<generation>.parquet`, which the manifest names. A content is
the SHA-256 of a file, whatever the file is called. A rule is a column and a value.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.indexer.format.manifest import REMOVED, REMOVED_REMEDY, Manifest
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.shards import read_parquet, record_file, write_parquet
from histo_index.wording import counted, printable

Row = dict[str, Any]

# What is known of a removed tile.
NAMED: Final = ["image_id", "path", "sha256"]
REMOVED_FILES: Final = f"{REMOVED}-*.parquet"
SCHEMA: Final = pa.schema(
    {
        "sha256": pa.string(),
        "image_id": pa.string(),
        "path": pa.string(),
        "column": pa.string(),
        "value": pa.string(),
        "is_purged": pa.bool_(),
        "removed": pa.string(),
    }
)
# Why a build left a tile out: the words of a report.
BY_CONTENT: Final = "content"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Every tile with this value in this column stays out.

    Attributes:
        column: name of a metadata column.
        value: compared as the type of the column requires: `007` is text.
    """

    column: str
    value: str | int | float

    def find(self, tiles: pa.Table) -> Bools | None:
        """Find the tiles that the rule is true of: bool [N].

        Returns:
            None if the rule cannot be applied: no such column, or none of a comparable type.
        """
        if self.column not in tiles.column_names:
            return None
        column = tiles[self.column]
        try:
            value = pa.scalar(self.value).cast(column.type)
            is_equal: Bools = pc.fill_null(pc.equal(column, value), False).to_numpy()
        except (pa.ArrowException, NotImplementedError):
            return None
        return is_equal


def describe_rule(rule: Rule, private: Collection[str] = frozenset()) -> str:
    """Write a rule as an expression; the value of a private column is not shown."""
    name = rule.column if rule.column.isidentifier() else f'"{rule.column}"'
    if rule.column in private:
        return printable(f"{name} = (private)")
    text = rule.value.replace("'", "''") if isinstance(rule.value, str) else rule.value
    return printable(f"{name} = '{text}'" if isinstance(text, str) else f"{name} = {text}")


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What a build does not take in.

    Attributes:
        kept: the other tiles.
        paths: files that were left out.
        counts: reason to number of tiles.
        removed: the record, with the contents that rules left out for the first time.
        is_news: there are such contents.
    """

    kept: pa.Table
    paths: list[str]
    counts: Mapping[str, int]
    removed: "Removed"
    is_news: bool


@dataclass(frozen=True, kw_only=True)
class Removed:
    """The record of what was removed.

    Attributes:
        table: columns as SCHEMA. A row with `sha256` keeps a content out; where that was removed
            under a rule, `column` and `value` name it. A row without `sha256` is a standing rule.
            Purged contents, and those that builds left out by a rule, have no name.
    """

    table: pa.Table

    @property
    def contents(self) -> pa.Array:
        """SHA-256 of each content that stays out, once."""
        return self.table["sha256"].drop_null().unique()

    @property
    def purged(self) -> set[str]:
        """SHA-256 of purged contents."""
        return set(self.table.filter(self.table["is_purged"])["sha256"].to_pylist())

    @property
    def rules(self) -> list[Rule]:
        """Standing rules, in the order in which they were stored."""
        rows = self.table.filter(pc.is_null(self.table["sha256"])).to_pylist()
        return [rule for row in rows if (rule := rule_in(row))]

    def under(self, rules: Collection[Rule]) -> set[str]:
        """Collect the contents that were removed under one of some rules."""
        return {row["sha256"] for row in self.table.to_pylist() if rule_in(row) in rules} - {None}

    def find(self, tiles: pa.Table) -> Bools:
        """Find the tiles whose content is to stay out: bool [N]."""
        found: Bools = pc.is_in(tiles["sha256"], value_set=self.contents).to_numpy()
        return found

    def with_rule(self, rule: Rule) -> "Removed":
        """Add a standing rule."""
        if rule in self.rules:
            return self
        return self._with([_row(rule=rule)])

    def with_tiles(
        self, tiles: pa.Table, rule: Rule | None = None, *, is_named: bool = True
    ) -> "Removed":
        """Add the contents of tiles.

        Args:
            tiles: `image_id`, `path` and `sha256` of each.
            rule: under which they were removed.
            is_named: keep their image id and path, for information.
        """
        known = {key for row in self.table.to_pylist() for key in _keys(row)}
        rows = []
        for tile in tiles.select(NAMED).to_pylist():
            row = _row(**(tile if is_named else {"sha256": tile["sha256"]}), rule=rule)
            if _keys(row)[0] not in known:
                known.update(_keys(row))
                rows.append(row)
        return self._with(rows)

    def leave_out(self, tiles: pa.Table, private: Collection[str] = frozenset()) -> LeftOut:
        """Leave out of a build what was removed before.

        Args:
            tiles: `image_id`, `path`, `sha256` and the user's columns.
            private: columns whose values are not shown.
        """
        counts: Counter[str] = Counter()
        unapplied: Counter[str] = Counter()
        is_out, removed = np.zeros(len(tiles), bool), self
        for rule in self.rules:
            found = rule.find(tiles)
            if found is None:
                unapplied[rule.column] += 1
                continue
            # By content as well: the next build may not know the column.
            removed = removed.with_tiles(tiles.filter(pa.array(found)), rule, is_named=False)
            counts[f"rule {describe_rule(rule, private)}"] += int(np.sum(found & ~is_out))
            is_out |= found
        _warn_not_applied(unapplied)
        by_content = removed.find(tiles) & ~is_out
        counts[BY_CONTENT] += int(np.sum(by_content))
        is_out |= by_content
        return LeftOut(
            kept=tiles.filter(pa.array(~is_out)),
            paths=tiles["path"].filter(pa.array(is_out)).to_pylist(),
            counts={reason: count for reason, count in counts.items() if count},
            removed=removed,
            is_news=removed is not self,
        )

    def _with(self, rows: list[Row]) -> "Removed":
        if not rows:
            return self
        return Removed(table=pa.concat_tables([self.table, pa.Table.from_pylist(rows, SCHEMA)]))

    def only(self, rows: list[Row]) -> "Removed":
        """Return a record with only these rows, without repeats."""
        distinct = {tuple(row.values()): row for row in rows}
        return Removed(table=pa.Table.from_pylist(list(distinct.values()), SCHEMA))


def _row(
    *,
    sha256: str | None = None,
    image_id: str | None = None,
    path: str | None = None,
    rule: Rule | None = None,
) -> Row:
    return {
        "sha256": sha256,
        "image_id": image_id,
        "path": path,
        "column": rule and rule.column,
        "value": rule and json.dumps(rule.value),
        "is_purged": False,
        "removed": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _keys(row: Row) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Identify a row, with its name and without: a known content needs no row without a name."""
    rule = row["column"], row["value"]
    return (row["sha256"], row["image_id"], *rule), (row["sha256"], None, *rule)


def rule_in(row: Row) -> Rule | None:
    """Read the rule that a row is, or under which its content was removed."""
    if row["column"] is None:
        return None
    return Rule(column=row["column"], value=json.loads(row["value"]))


def _warn_not_applied(unapplied: Mapping[str, int]) -> None:
    for column, rules in unapplied.items():
        _log.warning(
            "%s on %s cannot be applied: these tiles have no such column, or of another type; "
            "tiles removed before stay out by content, but new ones do not: pass the manifest "
            "that has the column", counted(rules, "rule"), printable(column),
        )  # fmt: skip


def read_removed(folder: Path, manifest: Manifest | None) -> Removed:
    """Read the record of an index.

    Args:
        folder: the index.
        manifest: what is committed; None where it was lost: then the newest record counts.

    Raises:
        DamagedError: the record is missing or not as it was written.
    """
    if manifest is None:
        found = sorted(folder.glob(REMOVED_FILES))
        record = record_file(folder, found[-1]) if found else None
    else:
        record = manifest.files.get(REMOVED)
    if record is None:
        return Removed(table=SCHEMA.empty_table())
    return Removed(table=read_parquet(folder, record, remedy=REMOVED_REMEDY))


def write_removed(folder: Path, removed: Removed, *, generation: int) -> dict[str, FileRecord]:
    """Write the record that a generation is to name: role to file, empty if nothing is removed."""
    if not len(removed.table):
        return {}
    path = folder / f"{REMOVED}-{generation:06d}.parquet"
    write_parquet(path, removed.table)
    return {REMOVED: record_file(folder, path)}


def keep_removed(folder: Path, current: Manifest | None, left: LeftOut) -> dict[str, FileRecord]:
    """Return the record's file after a build; write it if the build added contents.

    Args:
        folder: the index.
        current: what is committed; None in a first build, or where it was lost.
        left: what the build left out.

    Returns:
        Role to file, empty if nothing is removed.
    """
    before = current.files.get(REMOVED) if current else None
    if before is not None and not left.is_news:
        return {REMOVED: before}
    return write_removed(folder, left.removed, generation=current.generation + 1 if current else 1)


def private_columns(manifest: Manifest | None) -> frozenset[str]:
    """Return the columns whose values are not shown."""
    return frozenset(manifest.private_columns) if manifest else frozenset()
