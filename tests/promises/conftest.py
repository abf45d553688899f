"""The promises of docs/promises.md, one file each, named after its number.

Every test here takes its sizes and reports what it did through two fixtures:

    def test_it_survives(tries: Tries, tell: Tell) -> None:
        kills = tries(50, 2_000)  # 50 with each push, 2,000 with `pytest tests/promises --long`
        ...
        tell(f"{kills} random SIGKILLs", f"{mixtures} mixed states")

`tries` is the one way to scale: the same code runs in both forms, only longer. `tell` adds a line
to the table that is printed when a long run ends: what was tried, and what was found. Say numbers
that were counted, not numbers that were meant.

Faults come from outside the code under test. Where a machine does not allow one (no Linux, or no
right to mount a small disk) the test is skipped and says why; in CI none is.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import psutil  # type: ignore[import-untyped]
import pytest

from tests.cli.conftest import finished_workshop, run, workshop
from tests.conftest import Tries, is_long
from tests.indexer.conftest import drop_root, encoder, open_folder, tiles
from tests.promises.child import ChildBuilds
from tests.promises.killing import Killings, kill_at_every_step, kill_at_random

# Fixtures that the tests of the indexer and of the command line have too, and a type of all tests.
__all__ = [
    "Tries",
    "drop_root",
    "encoder",
    "finished_workshop",
    "open_folder",
    "run",
    "tiles",
    "workshop",
]

Tell: TypeAlias = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A line of the table: what a test tried and what it found."""

    promise: str
    tried: str
    found: str


_findings: Final = pytest.StashKey[list[Finding]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Put down `tell(what was tried, what was found)` for the table at the end."""
    findings = request.config.stash.setdefault(_findings, [])
    promise = re.sub(r"^test_|\.py$", "", request.path.name).replace("_", " ")

    def put_down(tried: str, found: str) -> None:
        findings.append(Finding(promise=promise, tried=tried, found=found))

    return put_down


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    findings = config.stash.get(_findings, [])
    if not is_long(config) or not findings:
        return
    lines = [(entry.promise, entry.tried, entry.found) for entry in findings]
    table = [("promise", "tried", "found"), *sorted(lines)]
    widths = [max(len(line[column]) for line in table) for column in (0, 1)]
    terminalreporter.section("promises: what was tried, what was found")
    for promise, tried, found in table:
        terminalreporter.write_line(f"{promise:{widths[0]}}  {tried:{widths[1]}}  {found}")


def processes_of(module: str) -> list[psutil.Process]:
    """Find the processes that this one started to run a module, among others that it has."""
    found = []
    for process in psutil.Process().children():
        try:
            # Until it runs its own program, a child has the name of its parent.
            if any(module in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="session")
def children() -> Iterator[ChildBuilds]:
    with ChildBuilds() as builds:
        yield builds


@pytest.fixture(scope="session")
def killings(
    children: ChildBuilds, tries: Tries, tmp_path_factory: pytest.TempPathFactory
) -> Killings:
    """Kill builds once for all tests that ask what becomes of that."""
    found = Killings()
    for kind in ("first build", "rebuild"):
        folders = [tmp_path_factory.mktemp("killed") for _ in range(3)]
        is_rebuild = kind == "rebuild"
        found.at_every_step[kind] = list(
            kill_at_every_step(folders[0], children, is_rebuild=is_rebuild, every=tries(3, 1))
        )
        found.at_random[kind] = list(
            kill_at_random(folders[1], children, kills=tries(12, 1_000), is_rebuild=is_rebuild)
        )
        found.while_writing[kind] = list(
            kill_at_every_step(
                folders[2], children, is_rebuild=is_rebuild, bytes_per_step=tries(256, 32)
            )
        )
    return found
