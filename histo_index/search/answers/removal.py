"""Choose tiles to take out of an index: by an expression over the columns, or by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.indexer.format.lookup import AMBIGUOUS
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.removed import Rule, describe_rule, private_columns, read_removed
from histo_index.indexer.private import require_public
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.purge import PurgeReport, purge
from histo_index.indexer.removal.remove import (
    RestoreConfig,
    RestoreReport,
    known_names,
    remove_tiles,
    restore_tiles,
)
from histo_index.search.answers.rules import NoRuleError, parse_rules, read_rules
from histo_index.search.maps.file import erase_places
from histo_index.search.marks.file import erase_marks
from histo_index.search.neighbours.filters import passing
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class RemoveConfig:
    """What to remove.

    Attributes:
        where: an SQL expression over the columns; every tile it is true of is removed.
        names: image ids, paths or file names of more; None is none.
        rule: whether `where` is also a standing rule for later builds; None is where it can be one.
        purge: also erase the removed tiles from the folder; with neither `where` nor `names`, all
            tiles that were removed so far.
    """

    where: str | None = None
    names: Sequence[str] | None = None
    rule: bool | None = None
    purge: bool = False

    @property
    def is_all(self) -> bool:
        """All tiles that were removed so far are meant."""
        return self.where is None and self.names is None

    def __post_init__(self) -> None:
        if self.where is None and not self.names and not (self.purge and self.is_all):
            raise InputError("nothing to remove: pass --where EXPRESSION or --list FILE")
        if self.rule and self.where is None:
            raise InputError("--rule needs --where: a rule is a column and a value")


@dataclass(frozen=True, kw_only=True)
class RemoveReport:
    """What was removed, and what holds for later builds.

    Attributes:
        index: the index folder.
        tiles: how many tiles the index has now.
        removed: how many were taken out.
        copies: of them those that were not chosen, but have the content of one that was.
        rules: standing rules for later builds.
        no_rule: why `where` is no standing rule; None if it is one, or there is none.
        purged: what was erased; None unless asked for.
        marks: how many marks of purged tiles were erased.
    """

    index: Path
    tiles: int
    removed: int
    copies: int
    rules: Sequence[str]
    no_rule: str | None
    purged: PurgeReport | None
    marks: int = 0


def remove(index: OpenIndex, config: RemoveConfig) -> RemoveReport:
    """Remove tiles from an index; readers that have it open keep them until they open it again.

    Args:
        index: the newest generation.
        config: what to remove.

    Raises:
        InputError: a name is not in the index, the expression cannot be used or is no rule though
            it was asked to be one, or no tile would be left.
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    rules, no_rule = _standing_rules(index, config)
    is_chosen = _find_where(index, config, rules)
    if no_rule is None and not np.array_equal(is_chosen, _find_all(rules, index.rows)):
        rules, no_rule = [], "as a rule it would match other tiles than as an expression"
    known = known_names(read_removed(index.folder, index.manifest), index) if config.purge else {}
    rows, gone = _find_names(index, config.names or (), known)
    is_chosen[rows] = True
    tiles, manifest = index.rows.filter(pa.array(is_chosen)), index.manifest
    if len(tiles) or rules:
        manifest = remove_tiles(index.folder, tiles, rules)
    removed = index.manifest.tiles - manifest.tiles
    chosen = int(np.count_nonzero(is_chosen[index.live_rows()]))
    erased, marks = None, 0
    if config.purge:
        under = read_removed(index.folder, manifest).under(rules)
        contents = {*tiles["sha256"].to_pylist(), *gone, *under}
        erased = purge(index.folder, None if config.is_all else contents)
        after = read_removed(index.folder, read_manifest(index.folder))
        marks = erase_marks(index.folder, after.purged)
        erase_places(index.folder, after.purged)
    return RemoveReport(
        index=index.folder,
        tiles=manifest.tiles,
        removed=removed,
        copies=max(0, removed - chosen),
        rules=[describe_rule(rule, private_columns(manifest)) for rule in rules],
        no_rule=no_rule,
        purged=erased,
        marks=marks,
    )


def restore(
    index: str | Path,
    *,
    names: Sequence[str] = (),
    rule: str | None = None,
    everything: bool = False,
    purged: bool = False,
) -> RestoreReport:
    """Undo removals: at once where rows are still stored, else with the next build.

    Args:
        index: the index folder.
        names: image ids or paths of removed tiles.
        rule: standing rules to lift, such as `patient_id = 'X'`, with the tiles removed by them.
        everything: restore all that was removed, and lift all rules.
        purged: also forget the hashes of purged tiles, so that the next build encodes them again.

    Raises:
        InputError: nothing is chosen, or something chosen is not among the removed.
        LockedError: another process is writing the index.
        IndexFormatError: the index is damaged.
    """
    folder = Path(index)
    rules: list[Rule] = []
    if rule is not None:
        stored = read_removed(folder, read_manifest(folder)).rules
        try:
            # All columns: a rule that was lifted already is no longer among the stored ones.
            columns = OpenIndex(folder, private=True).rows.column_names
            known = dict.fromkeys([*(entry.column for entry in stored), *columns])
            rules = parse_rules(rule, list(known))
        except NoRuleError as reason:
            raise InputError(
                f"--rule {printable(rule)}: no standing rule of {folder}: {reason}; "
                "`histo-index info` lists them; nothing was restored"
            ) from reason
    config = RestoreConfig(names=names, rules=rules, is_all=everything, with_purged=purged)
    return restore_tiles(folder, config)


def _standing_rules(index: OpenIndex, config: RemoveConfig) -> tuple[list[Rule], str | None]:
    """Read the rules that an expression makes, or why it makes none."""
    if config.where is None:
        return [], None
    try:
        rules = read_rules(config.where, index.rows)
    except NoRuleError as reason:
        require_public(config.where, index.hidden)
        if config.rule:
            raise InputError(
                f"--where {printable(config.where)}: no standing rule: {reason}; nothing was "
                "removed; leave out --rule to remove the tiles that match now"
            ) from reason
        return [], str(reason)
    return ([], "--no-rule") if config.rule is False else (rules, None)


def _find_where(index: OpenIndex, config: RemoveConfig, rules: Sequence[Rule]) -> Bools:
    """Find the rows that the expression is true of, bool [N], those that are out already too."""
    if config.rule:
        # A rule may come before the first tile that it is true of.
        return _find_all(rules, index.rows)
    if config.where is None:
        return np.zeros(len(index), bool)
    return passing(index.rows, config.where, hidden=index.hidden)


def _find_all(rules: Sequence[Rule], rows: pa.Table) -> Bools:
    is_found = np.zeros(len(rows), bool)
    for rule in rules:
        found = rule.find(rows)
        assert found is not None, rule
        is_found |= found
    return is_found


def _find_names(
    index: OpenIndex, names: Sequence[str], known: Mapping[str, set[str]]
) -> tuple[npt.NDArray[np.int64], set[str]]:
    """Find the rows of names, int64 [n], and the contents of those that were removed before."""
    found = index.find_names(pa.array(list(names), pa.string()))
    gone: set[str] = set()
    for name, row in zip(names, found.tolist(), strict=True):
        if row < 0 and name in known:
            gone |= known[name]
        elif row < 0:
            reason = "a name of several tiles" if row == AMBIGUOUS else "not in the index"
            raise InputError(f"{printable(name)}: {reason}; nothing was removed")
    return found[found >= 0], gone
