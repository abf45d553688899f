"""What commands print: text, tables, JSON, errors and exit codes."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer

from histo_index.wording import printable

if TYPE_CHECKING:
    from histo_index.search.bootstrap import Estimate

# Finished, but some inputs could not be used or answered.
REJECTED_EXIT: Final = 3
# Parts that do not belong together.
MISMATCH_EXIT: Final = 4
# Columns of answers; a user's own numbers are printed as they are.
_PROBABILITIES: Final = ("probability", "probability_low", "probability_high")
_SMALLEST: Final = 0.001


def print_result(result: Any, *, to_stderr: bool = False) -> None:
    """Print a result: text as it is, anything else as JSON; see `to_json`."""
    typer.echo(result if isinstance(result, str) else to_json(result), err=to_stderr)


def exit_if(condition: object, code: int) -> None:
    """Exit with a code if a condition holds."""
    if condition:
        raise typer.Exit(code)


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and exit with a code."""
    print(f"histo-index: error: {message}", file=sys.stderr)
    sys.exit(code)


def facts_text(facts: dict[str, Any]) -> str:
    """Format facts, one a line; those of a nested dict are indented below its name."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {line}" for line in facts_text(value).splitlines()]
        else:
            entries = value if isinstance(value, list | tuple) else [value]
            lines.append(f"{name:<14} {'; '.join(map(_cell, entries)) or 'none'}")
    return "\n".join(lines)


def table_text(rows: Sequence[dict[str, Any]], *, nothing: str = "no neighbours") -> str:
    """Format rows as a table with a header; `nothing` stands for an empty one."""
    if not rows:
        return nothing
    header = list(rows[0])
    if all("path" in row and row["path"] == row.get("image_id") for row in rows):
        header.remove("path")
    cells = [[_cell(row.get(name), name) for name in header] for row in rows]
    return "\n".join(align([header, *cells]))


def align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pad the cells of each column to one width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def probability_text(value: float) -> str:
    """Format a probability, none of them as certain: `0.634`, `>0.999`."""
    if value < _SMALLEST:
        return f"<{_SMALLEST}"
    return f">{1 - _SMALLEST}" if value > 1 - _SMALLEST else f"{value:.3f}"


def interval_text(low: float | None, high: float | None) -> str:
    """Format the interval of a probability; empty without one."""
    return (
        "" if low is None or high is None else f"{probability_text(low)}…{probability_text(high)}"
    )


def estimate_text(figure: "Estimate", form: str = ".3f") -> str:
    """Format a figure with its interval: `0.912 (0.890…0.931)`; `-` without one."""
    text = "-" if figure.value is None else f"{figure.value:{form}}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} ({figure.low:{form}}…{figure.high:{form}})"


def size_text(size_bytes: int) -> str:
    """Format a file size: `512 bytes`, `1.5 MB`."""
    value = float(size_bytes)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop ends at GB")


def duration_text(seconds: float) -> str:
    """Format a duration: `42 s`, `3 min 8 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def to_json(value: Any) -> str:
    """Format plain values and records as one line of JSON.

    NaN and infinities become null; dates and paths become text.
    """
    return json.dumps(_plain(value), default=str, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _cell(value: Any, name: str = "") -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return printable(value)
    if name in _PROBABILITIES:
        return probability_text(value)
    return f"{value:.5f}" if name == "distance" else f"{value:.10g}"
