"""Remove tiles, restore them, free the space of removed ones."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histo_index.commands.options import IndexOption, JsonOption, PrivateOption
from histo_index.commands.output import print_result, require_index
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.indexer.removal.compact import CompactReport
    from histo_index.indexer.removal.purge import PurgeReport
    from histo_index.indexer.removal.remove import RestoreReport
    from histo_index.search.answers.removal import RemoveReport

removing = typer.Typer()


@removing.command(epilog="Example: histo-index remove --where \"patient_id = 'X'\" -i tiles.hx")
def remove(
    where: Annotated[
        str | None, typer.Option("--where", help="SQL over columns, as for search.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--list", help="Names of tiles: .txt, CSV, TSV or Parquet.")
    ] = None,
    rule: Annotated[
        bool | None,
        typer.Option(
            "--rule/--no-rule",
            help="Keep --where as a standing rule for later builds; else where it can be one.",
        ),
    ] = None,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Also erase them; alone, erase all tiles that were removed so far."
        ),
    ] = False,
    index: IndexOption = None,
    private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take tiles out of an index at once and keep them out of later builds."""
    from histo_index.api import index as api
    from histo_index.search.inputs.name_list import read_names

    folder = require_index(index)
    listed = read_names(names) if names else None
    opened = api.open(folder, private=private)
    report = opened.remove(where=where, names=listed, rule=rule, purge=purge)
    print_result(asdict(report) if as_json else describe_removal(report))


@removing.command(epilog="Example: histo-index restore --rule \"patient_id = 'X'\" -i tiles.hx")
def restore(
    names: Annotated[
        Path | None, typer.Option("--list", help="Image ids or paths: .txt, CSV, TSV or Parquet.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", help="A standing rule to lift, as `info` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Restore all tiles and lift all rules.")
    ] = False,
    purged: Annotated[
        bool, typer.Option("--purged", help="Let the next build encode purged tiles again too.")
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo removals: at once while the tiles are stored, else with the next build."""
    from histo_index.search.answers import removal as search_removing
    from histo_index.search.inputs.name_list import read_names

    folder = require_index(index)
    listed = read_names(names) if names else ()
    report = search_removing.restore(
        folder, names=listed, rule=rule, everything=everything, purged=purged
    )
    print_result(asdict(report) if as_json else describe_restoring(report))


@removing.command(epilog="Example: histo-index compact -i tiles.hx")
def compact(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Write shards and search files again without removed tiles; nothing is encoded."""
    from histo_index.api import build as building

    report = building.compact(require_index(index))
    print_result(asdict(report) if as_json else describe_compacting(report))


def describe_removal(report: "RemoveReport") -> str:
    """Say what was removed and what holds for later builds."""
    copies = f" ({report.copies:,} of them as copies of the others)" if report.copies else ""
    lines = [
        f"{report.index}: {counted(report.removed, 'tile')} removed{copies}; "
        f"{counted(report.tiles, 'tile')} left"
    ]
    lines += [
        f"  rule      {rule}: later builds leave out every tile of which this is true"
        for rule in report.rules
    ]
    if report.no_rule is not None:
        lines.append(f"  no rule   later builds leave out these contents alone; {report.no_rule}")
    if report.purged is not None:
        lines += _describe_purge(report.purged)
    return "\n".join(lines)


def _describe_purge(purged: "PurgeReport") -> list[str]:
    if not purged.contents:
        return ["  purged    nothing more: of removed tiles the index holds only hashes"]
    lines = [
        f"  purged    {counted(purged.contents, 'content')}: {counted(purged.rows, 'embedding')}, "
        "metadata, names and paths are erased; their SHA-256 stay and keep them out"
    ]
    if purged.is_distance_refitted:
        lines.append("            distances are fitted again without them, and change a little")
    if purged.is_calibration_erased:
        lines.append(
            "            the calibration, fitted with them, is erased: run `histo-index calibrate`"
        )
    return lines


def describe_restoring(report: "RestoreReport") -> str:
    """Say what is back, and what the next build has to do."""
    lines = [
        f"{report.index}: {counted(report.restored, 'tile')} restored; "
        f"{counted(report.tiles, 'tile')} in the index"
    ]
    lines += [f"  lifted    rule {printable(rule)}" for rule in report.rules]
    if report.later:
        lines.append(
            f"  later     {counted(report.later, 'content')} no more stored: the next "
            "`histo-index build` encodes them again"
        )
    if report.purged:
        lines.append(
            f"  purged    {counted(report.purged, 'content')} stay out; with --purged the next "
            "build encodes them again"
        )
    return "\n".join(lines)


def describe_compacting(report: "CompactReport") -> str:
    """Say what was erased."""
    return (
        f"{report.index}: {counted(report.tiles, 'tile')}; "
        f"{counted(report.erased, 'removed tile')} erased from the shards"
    )


def with_removed_lines(facts: dict[str, Any]) -> dict[str, Any]:
    """Write what `info` knows of removed tiles as text: one meaning whether compacted or not."""
    stored, rules = facts["removed_stored"], facts["rules"]
    on_disk = f"{stored:,} still on disk: compact frees them" if stored else "none still on disk"
    lines = facts | {
        "removed": f"{facts['removed']:,} (kept out of later builds; {on_disk})",
        "rules": "; ".join(rules) if rules else "none",
    }
    return {name: value for name, value in lines.items() if name != "removed_stored"}
