"""Remove tiles from an index and restore them, by changing only the record of removed tiles."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import FEATURES, REMOVED, Manifest, write_manifest
from histo_index.indexer.format.removed import (
    NAMED,
    REMOVED_FILES,
    Removed,
    Rule,
    describe_rule,
    private_columns,
    read_removed,
    rule_in,
    write_removed,
)
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import changing
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class RestoreConfig:
    """What of the removed to restore.

    Attributes:
        names: image ids or paths of removed tiles.
        rules: standing rules to lift, with the tiles that were removed under them.
        is_all: everything, all rules too.
        with_purged: also purged contents, known only by their hash.
    """

    names: Sequence[str] = ()
    rules: Sequence[Rule] = ()
    is_all: bool = False
    with_purged: bool = False

    def __post_init__(self) -> None:
        if not (self.names or self.rules or self.is_all):
            raise InputError("nothing to restore: pass --list FILE, --rule EXPRESSION or --all")
        if self.is_all and (self.names or self.rules):
            raise InputError("--all restores everything; pass it without --list and --rule")


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """What was restored.

    Attributes:
        index: the index folder.
        tiles: how many tiles the index has now.
        restored: of them those that are back at once.
        later: contents that are kept out no more, but not stored: the next build encodes them, or
            the next import reads them.
        purged: contents of those asked for that stay out, because they were purged.
        rules: rules that were lifted.
        is_imported: an import made the index.
    """

    index: Path
    tiles: int
    restored: int
    later: int
    purged: int
    rules: Sequence[str]
    is_imported: bool = False


def remove_tiles(folder: Path, tiles: pa.Table, rules: Sequence[Rule] = ()) -> Manifest:
    """Remove tiles and all copies of them, as a new generation.

    Args:
        folder: the index.
        tiles: `image_id`, `path` and `sha256` of each, and the columns of the rules.
        rules: what later builds leave out too; tiles are remembered under the rules true of them.

    Raises:
        InputError: no tile would be left.
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        before, is_under = read_removed(folder, current), np.zeros(len(tiles), bool)
        removed = before
        for rule in rules:
            found = rule.find(tiles)
            assert found is not None, rule
            removed = removed.with_rule(rule).with_tiles(tiles.filter(pa.array(found)), rule)
            is_under |= found
        removed = removed.with_tiles(tiles.filter(pa.array(~is_under)))
        return _commit_record(folder, current, removed, is_news=removed is not before)


def restore_tiles(folder: Path, config: RestoreConfig) -> RestoreReport:
    """Undo removals: at once where the rows are still stored, else with the next build.

    Raises:
        InputError: a name or a rule is not among the removed, or a rule keeps a name out.
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    with changing(folder) as current:
        before, index = read_removed(folder, current), OpenIndex(folder)
        private = private_columns(current)
        _require_rules(before, config, private)
        contents = _named_contents(before, index, config.names)
        _require_no_rule(before, contents, config, private)
        rows = before.table.to_pylist()
        asked = [row for row in rows if _is_asked(row, config, contents)]
        lifted = [row for row in asked if config.with_purged or not row["is_purged"]]
        after = before.only([row for row in rows if row not in lifted])
        manifest = _commit_record(folder, current, after, is_news=bool(lifted))
        free = set(before.contents.to_pylist()) - set(after.contents.to_pylist())
        return RestoreReport(
            index=folder,
            tiles=manifest.tiles,
            restored=manifest.tiles - current.tiles,
            later=len(free - set(index.rows["sha256"].to_pylist())),
            purged=len({row["sha256"] for row in asked} & after.purged),
            rules=[describe_rule(r, private) for r in before.rules if r not in after.rules],
            is_imported=FEATURES in current.files,
        )


def _is_asked(row: dict[str, Any], config: RestoreConfig, contents: set[str]) -> bool:
    is_under = (rule := rule_in(row)) is not None and rule in config.rules
    return config.is_all or is_under or row["sha256"] in contents


def _require_rules(removed: Removed, config: RestoreConfig, private: Collection[str]) -> None:
    for rule in config.rules:
        if rule not in removed.rules:
            stored = "; ".join(describe_rule(entry, private) for entry in removed.rules)
            raise InputError(
                f"--rule {describe_rule(rule, private)}: no such standing rule; the index has: "
                f"{stored or 'none'}; nothing was restored"
            )


def known_names(removed: Removed, index: OpenIndex) -> dict[str, set[str]]:
    """Map image ids and paths of removed tiles to their contents."""
    stored = index.rows.filter(pa.array(removed.find(index.rows))).select(NAMED)
    known: dict[str, set[str]] = {}
    for row in [*removed.table.to_pylist(), *stored.to_pylist()]:
        for name in {row["image_id"], row["path"]} - {None}:
            known.setdefault(name, set()).add(row["sha256"])
    return known


def _named_contents(removed: Removed, index: OpenIndex, names: Iterable[str]) -> set[str]:
    known = known_names(removed, index)
    for name in names:
        if name not in known:
            raise InputError(
                f"{printable(name)}: no image id or path of a removed tile; nothing was restored; "
                "purged tiles and those that only a build left out have no name: pass --all or "
                "--rule"
            )
    return {content for name in names for content in known[name]}


def _require_no_rule(
    removed: Removed, contents: set[str], config: RestoreConfig, private: Collection[str]
) -> None:
    standing = [rule for rule in removed.rules if rule not in config.rules]
    for row in removed.table.to_pylist():
        if row["sha256"] in contents and (rule := rule_in(row)) in standing:
            assert rule is not None
            raise InputError(
                f"{printable(row['image_id'])}: kept out by the rule "
                f"{describe_rule(rule, private)}; nothing was restored; lift it with --rule"
            )


def _commit_record(folder: Path, current: Manifest, removed: Removed, *, is_news: bool) -> Manifest:
    """Commit a record of what was removed, if it is news; the rest of the index stays as it is."""
    manifest = _write_record(folder, current, removed) if is_news else current
    kept = {folder / record.path for record in manifest.records()}
    for old in set(folder.glob(REMOVED_FILES)) - kept:
        old.unlink(missing_ok=True)
    return manifest


def _write_record(folder: Path, current: Manifest, removed: Removed) -> Manifest:
    tiles = int(np.count_nonzero(~removed.find(OpenIndex(folder).rows)))
    if not tiles:
        raise InputError(f"{folder}: no tile would be left; delete the folder instead")
    generation = current.generation + 1
    files = {role: record for role, record in current.files.items() if role != REMOVED}
    files |= write_removed(folder, removed, generation=generation)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = replace(current, generation=generation, created=created, tiles=tiles, files=files)
    write_manifest(folder, manifest)
    return manifest
