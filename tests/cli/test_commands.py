"""The list of commands: complete, described, and imported only where it is needed."""

import subprocess
import sys
from importlib import import_module

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from histo_index.cli import MODULES, app


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_every_command_of_a_module_is_listed(module: str) -> None:
    found = get_group(import_module(f"histo_index.commands.{module}").app).commands
    assert set(found) == {name for name, place in MODULES.items() if place == module}


def test_help_says_what_each_command_does_in_a_whole_sentence() -> None:
    lines = CliRunner().invoke(app, ["--help"]).output.splitlines()
    start = lines.index("Commands:") + 1
    listed = lines[start : lines.index("", start)]
    assert [line.split()[0] for line in listed if line[2] != " "] == ["doctor", "demo", *MODULES]
    text = " ".join(" ".join(listed).split())
    assert "pair Are two images of the same tissue category? Files take precedence" in text
    assert "encoder Create, import and compare encoders. plan Plan time" in text
    assert "..." not in text


def test_a_misspelt_command_names_those_like_it() -> None:
    ran = CliRunner().invoke(app, ["calibate"])
    assert ran.exit_code == 2
    assert "No such command 'calibate'. Did you mean 'calibrate'" in ran.output


def test_a_command_imports_no_other() -> None:
    script = (
        "import sys; from histo_index.cli import app; "
        "app(['pair', '--help'], standalone_mode=False); "
        "print(*(name for name in sys.modules if name.startswith('histo_index.commands.')))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.splitlines()[-1].split())
    places = {f"histo_index.commands.{module}" for module in MODULES.values()}
    assert loaded & places == {"histo_index.commands.query"}
