"""What every command shares: which index is meant, how results are printed, how it ends."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

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
    from histo_index.search.jsontext import to_json

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
