"""docs/cli.md describes every command and every option as the command line does."""

import re

from tests.cli_page import PAGE, describe_command, list_commands, refresh


def test_every_command_has_a_section_with_its_options() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- options: (.+?) -->", text)) == {
        name for name, _ in list_commands()
    }
    headings = re.findall(r"^## `histo-index (.+)`$", text, re.MULTILINE)
    assert set(headings) == {name for name, _ in list_commands()}


def test_options_are_those_of_the_command_line() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert refresh(text) == text, "run `make refresh-docs`"


def test_table_names_each_option_with_its_help_and_default() -> None:
    pairs = dict(list_commands())["pairs"]
    rows = describe_command(pairs).splitlines()
    assert "| `LIST` | CSV, TSV, Parquet, or -. Required. |" in rows
    assert "| `--device` | auto, cpu or cuda. Default: `auto`. |" in rows
    assert sum(row.startswith("| `--unsure`, `--decide` |") for row in rows) == 1
    options = [name for parameter in pairs.params for name in parameter.opts]
    assert [name for name in options if name.startswith("-") and f"`{name}`" not in str(rows)] == []
