"""The README's commands run as they stand there and print what it says they print."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

README: Final = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def console_commands() -> Iterator[tuple[list[str], list[str]]]:
    """Give every `$ histo-index …` of a console block, with the output shown below it."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip().splitlines()
            if command.startswith("histo-index"):
                yield shlex.split(command)[1:], shown


def masked(text: str) -> str:
    """Hide what differs from machine to machine: times, rates, sizes and fingerprints."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "#", text)
    text = re.sub(r"[\d.,]+ (images/s|s|MB|KB)\b", r"# \1", text)
    # Machines without bfloat16 give distances that differ in the third digit.
    text = re.sub(r"[\d,]+ same|\([\d,]+ of", "#", text)
    return re.sub(r"(distance |c-index +|[\s…(])0\.\d+", r"\g<1>#", text)


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    list(console_commands()),
    ids=lambda value: str(value[0]) if value else "-",
)
def test_command_prints_what_the_readme_shows(
    readme_folder: Path, arguments: list[str], shown: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "histo_index", *arguments],
        cwd=readme_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if shown:
        assert masked(done.stdout).splitlines() == masked("\n".join(shown)).splitlines()


def test_the_python_example_runs(readme_folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=readme_folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("same 0.")
    assert len(lines) == 5
