"""How results look on a terminal: plain text, a line per fact."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from histo_index.wording import printable

if TYPE_CHECKING:
    pass

# How often a log that is no terminal is told how far a build is.
_LOG_EVERY_S: Final = 30.0


def table_text(rows: Sequence[dict[str, Any]], *, nothing: str = "no neighbours") -> str:
    """Lay out rows as columns."""
    if not rows:
        return nothing
    header = list(rows[0])
    if all(row.get("path") == row.get("image_id") for row in rows):
        header.remove("path")
    body = [[_cell(row.get(name)) for name in header] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, *body]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def facts_text(facts: dict[str, Any]) -> str:
    """Lay out facts, one a line; those of a nested dict are indented below its name."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {line}" for line in facts_text(value).splitlines()]
        else:
            text = "; ".join(map(_cell, value)) if isinstance(value, list) else _cell(value)
            lines.append(f"{name:<14} {text}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5f}" if isinstance(value, float) else printable(value)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop ends at GB")


def to_json(value: Any) -> str:
    """Write plain values as one line of JSON; NaN and infinities become null, dates become text."""
    return json.dumps(_plain(value), default=str, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


# Finished, but some inputs could not be used or answered.
REJECTED_EXIT = 3


def find_index(given: Path | None) -> Path | None:
    """Take the index given, else $HISTO_INDEX, else the only *.hx folder here, else none."""
    if given is not None:
        return given
    if named := os.environ.get("HISTO_INDEX"):
        return Path(named)
    found = sorted(path for path in Path().glob("*.hx") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:4])
        fail(f"several indexes here ({names}); pass one with --index", 2)
    return found[0] if found else None


def require_index(given: Path | None) -> Path:
    """Take the index as `find_index` does; none is a usage error."""
    found = find_index(given)
    if found is None:
        fail("no index: pass --index DIR, set HISTO_INDEX, or run where one *.hx folder is", 2)
    return found


def print_result(result: Any, *, to_stderr: bool = False) -> None:
    """Print a result: text as it is, anything else as JSON."""
    from histo_index.commands.output import to_json

    typer.echo(result if isinstance(result, str) else to_json(result), err=to_stderr)


def require_alone(context: typer.Context, option: str, *, beside: Sequence[str]) -> None:
    """Refuse an option that stands with others than those beside it."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        is_given = source is not None and source.name != "DEFAULT"
        if is_given and parameter.name not in (option, *beside):
            fail(f"--{option} excludes {parameter.opts[0]}: leave out one of them", 2)


def exit_if(condition: object, code: int) -> None:
    """End with an exit code if something is so."""
    if condition:
        raise typer.Exit(code)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on stderr and an exit code."""
    print(f"histo-index: error: {message}", file=sys.stderr)
    sys.exit(code)
