"""The option tables of docs/cli.md, written from the commands themselves."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from histo_index.cli import app

PAGE: Final = Path(__file__).parent.parent / "docs" / "cli.md"
_TABLE: Final = re.compile(r"<!-- options: (.+?) -->\n.*?<!-- end -->", re.DOTALL)


def list_commands(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """List every command with its full name, such as `encoder import`."""
    command = command or get_command(app)
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part in command.list_commands(None):
        yield from list_commands(command.get_command(None, part), f"{name} {part}".strip())


def describe_command(command: Any) -> str:
    """Write what a command does and its arguments and options, as Markdown."""
    rows = [
        f"| {_spell(parameter)} | {_cell(parameter.help)}{_default(parameter)} |"
        for parameter in command.params
        if getattr(parameter, "help", None)
    ]
    table = ["| argument or option | meaning |", "| --- | --- |", *rows]
    example = command.epilog.removeprefix("Example: ")
    return "\n".join([f"*{_cell(command.help)}*", "", *table, "", "```text", f"$ {example}", "```"])


def _spell(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).upper()}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return " Required."
    value = parameter.default
    return "" if value is None or isinstance(value, bool) else f" Default: `{value}`."


def refresh(text: str) -> str:
    """Write the tables of a page again, between `<!-- options: NAME -->` and `<!-- end -->`."""
    commands = dict(list_commands())
    return _TABLE.sub(
        lambda found: (
            f"<!-- options: {found[1]} -->\n{describe_command(commands[found[1]])}\n<!-- end -->"
        ),
        text,
    )
