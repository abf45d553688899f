"""The commands and Python examples of README.md and docs/, and how they are run."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.warm import Warm

ROOT: Final = Path(__file__).parent.parent
# Pages whose `console` and `python` blocks are run. Other pages show commands as `text`.
PAGES: Final = (
    "README.md",
    "docs/index.md",
    "docs/concepts.md",
    "docs/python.md",
    "docs/encoder.md",
    "docs/distil.md",
    "docs/slides.md",
    "docs/features.md",
    "docs/scale.md",
)
# Every page starts with the folder that this command makes; it is run once for all of them.
DEMO: Final = ["demo", "-o", "demo", "--tiles-per-category", "16"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command or a Python block of a page.

    Attributes:
        page: the file, relative to the repository.
        line: line of the page on which it starts, from 1.
        arguments: of the Python interpreter.
        shown: the lines of output below it; empty if the page shows none.
    """

    page: str
    line: int
    arguments: list[str]
    shown: list[str]

    @property
    def is_demo(self) -> bool:
        """It makes the folder that every page starts with."""
        return self.arguments[2:] == DEMO


def read_examples(page: str) -> list[Example]:
    """Read the examples of a page, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[Example] = []
    for block in re.finditer(r"^```(console|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        first = text.count("\n", 0, block.start(2)) + 1
        lines = block[2].splitlines()
        if block[1] == "python":
            found.append(Example(page=page, line=first, arguments=["-c", block[2]], shown=[]))
        else:
            found += _read_console(page, first, lines)
    return found


def _read_console(page: str, first: int, lines: list[str]) -> Iterator[Example]:
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words = shlex.split(lines[start][2:])
        if words[0] == "histo-index":
            arguments = ["-m", "histo_index", *words[1:]]
            shown = lines[start + 1 : end]
            yield Example(page=page, line=first + start, arguments=arguments, shown=shown)


def make_demo(folder: Path, warm: Warm) -> None:
    """Make the folder `demo` that the examples start with."""
    example = Example(page="", line=0, arguments=["-m", "histo_index", *DEMO], shown=[])
    run_example(example, folder, warm)


def copy_demo(made: Path, folder: Path) -> Path:
    """Copy the demo to a new folder for one page."""
    shutil.copytree(made / "demo", folder / "demo")
    return folder


def run_example(example: Example, folder: Path, warm: Warm) -> list[str]:
    """Run an example in a folder and return the lines it printed.

    Raises:
        AssertionError: it failed; the message has what it wrote to stderr.
    """
    done = warm.run(example.arguments, folder)
    assert done.returncode == 0, f"{example.page}:{example.line}: {done.stderr}"
    return [line.rstrip() for line in done.stdout.rstrip().splitlines()]


def mask_times(text: str) -> str:
    """Replace times and rates, which differ from run to run."""
    return re.sub(r"[\d.,]+ (images/s|s)\b", r"# \1", text)


def mask(text: str) -> str:
    """Replace what differs between machines: times, sizes, hashes and figures of the encoder."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "#", mask_times(text))
    text = re.sub(r"[\d.,]+ (MB|KB)\b", r"# \1", text)
    # CPUs without bfloat16 compute distances that differ in the third digit.
    text = re.sub(r"[\d,]+ same|\([\d,]+ of", "#", text)
    text = re.sub(r"-?\b\d\.\d+", "#", text)
    return re.sub(r" {2,}", "  ", text)
