"""Remove tiles, restore them, free the space of removed ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histo_index.commands.options import IndexOption, JsonOption, PrivateOption, require_index
from histo_index.commands.output import print_result
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.indexer.removal.compact import CompactReport
    from histo_index.indexer.removal.purge import PurgeReport
    from histo_index.indexer.removal.remove import RestoreReport
    from histo_index.search.answers.removal import RemoveReport

app = typer.Typer()


@app.command(epilog="Example: histo-index remove --where \"patient_id = 'X'\" -i tiles.hx")
def remove(
    where: Annotated[
        str | None, typer.Option("--where", help="SQL filter over columns, as for search.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--list", help="Image ids, paths or file names: .txt, CSV, TSV or Parquet."),
    ] = None,
    rule: Annotated[
        bool | None,
        typer.Option(
            "--rule/--no-rule",
            help="Keep --where as a standing rule for later builds (default: if it can be one).",
        ),
    ] = None,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Also erase them. Without --where and --list: erase all removed tiles."
        ),
    ] = False,
    index: IndexOption = None,
    private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove tiles from an index and keep them out of later builds."""
    from histo_index.api.index import open as open_index
    from histo_index.search.inputs.name_list import read_names

    folder = require_index(index)
    listed = read_names(names) if names else None
    opened = open_index(folder, private=private)
    report = opened.remove(where=where, names=listed, rule=rule, purge=purge)
    print_result(report if as_json else describe_removal(report))


@app.command(epilog="Example: histo-index restore --rule \"patient_id = 'X'\" -i tiles.hx")
def restore(
    names: Annotated[
        Path | None, typer.Option("--list", help="Image ids or paths: .txt, CSV, TSV or Parquet.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", help="A standing rule to delete, as `info` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Restore all tiles and delete all rules.")
    ] = False,
    purged: Annotated[
        bool, typer.Option("--purged", help="Allow the next build to encode purged tiles again.")
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore removed tiles: at once if they are still stored, else with the next build."""
    from histo_index.search.answers.removal import restore as restore_tiles
    from histo_index.search.inputs.name_list import read_names

    folder = require_index(index)
    listed = read_names(names) if names else ()
    report = restore_tiles(folder, names=listed, rule=rule, everything=everything, purged=purged)
    print_result(report if as_json else describe_restore(report))


@app.command(epilog="Example: histo-index compact -i tiles.hx")
def compact(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Rewrite shards and search files without removed tiles; nothing is encoded."""
    from histo_index.api.build import compact as compact_index

    report = compact_index(require_index(index))
    print_result(report if as_json else describe_compact(report))


def describe_removal(report: "RemoveReport") -> str:
    """Format the result of `remove`, with its effect on later builds."""
    copies = f" ({report.copies:,} of them as copies of the others)" if report.copies else ""
    lines = [
        f"{report.index}: {counted(report.removed, 'tile')} removed{copies}; "
        f"{counted(report.tiles, 'tile')} left"
    ]
    lines += [
        f"  rule      {rule}: later builds leave out every tile that matches"
        for rule in report.rules
    ]
    if report.no_rule is not None:
        lines.append(f"  no rule   later builds leave out these contents only; {report.no_rule}")
    if report.purged is not None:
        lines += _describe_purge(report.purged)
    if report.marks:
        lines.append(f"            {counted(report.marks, 'mark')} of them erased")
    return "\n".join(lines)


def _describe_purge(purged: "PurgeReport") -> list[str]:
    if not purged.contents:
        return ["  purged    nothing more: the index holds only hashes of removed tiles"]
    lines = [
        f"  purged    {counted(purged.contents, 'content')}: {counted(purged.rows, 'embedding')}, "
        "metadata, names and paths are erased; their SHA-256 hashes stay, to keep them out"
    ]
    if purged.is_distance_refitted:
        lines.append(
            "            the distance is fitted again without them: distances change slightly"
        )
    if purged.is_calibration_erased:
        lines.append(
            "            the calibration was fitted with them and is erased: "
            "run `histo-index calibrate`"
        )
    return lines


def describe_restore(report: "RestoreReport") -> str:
    """Format the result of `restore`, with its effect on the next build."""
    lines = [
        f"{report.index}: {counted(report.restored, 'tile')} restored; "
        f"{counted(report.tiles, 'tile')} in the index"
    ]
    lines += [f"  deleted   rule {printable(rule)}" for rule in report.rules]
    command, does = ("import", "reads") if report.is_imported else ("build", "encodes")
    if report.later:
        lines.append(
            f"  later     {counted(report.later, 'content')} no longer stored: the next "
            f"`histo-index {command}` {does} them again"
        )
    if report.purged:
        lines.append(
            f"  purged    {counted(report.purged, 'content')} stay out; with --purged the next "
            f"{command} {does} them again"
        )
    return "\n".join(lines)


def describe_compact(report: "CompactReport") -> str:
    """Format the result of `compact`."""
    return (
        f"{report.index}: {counted(report.tiles, 'tile')}; "
        f"{counted(report.erased, 'removed tile')} erased from the shards"
    )


def describe_removed(facts: dict[str, Any]) -> dict[str, Any]:
    """Format the facts of `info` about removed tiles."""
    stored, rules = facts["removed_stored"], facts["rules"]
    on_disk = (
        f"{stored:,} still on disk: `histo-index compact` erases them"
        if stored
        else "none still on disk"
    )
    lines = facts | {
        "removed": f"{facts['removed']:,} (kept out of later builds; {on_disk})",
        "rules": "; ".join(rules) if rules else "none",
    }
    return {name: value for name, value in lines.items() if name != "removed_stored"}
