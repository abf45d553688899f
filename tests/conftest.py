"""The two lengths in which tests run: with each push, and with `--long`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.doc_pages import make_demo
from tests.warm import Warm

Tries: TypeAlias = Callable[[int, int], int]


def pytest_configure() -> None:
    """Keep no converted networks in the cache of whoever runs the tests."""
    os.environ["HISTO_INDEX_CACHE"] = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="run promises and simulations at full length"
    )


def is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--long"))


@pytest.fixture(scope="session")
def tries(request: pytest.FixtureRequest) -> Tries:
    """Choose how often to try: `tries(with each push, in the long form)`."""
    return lambda per_push, long: long if is_long(request.config) else per_push


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Run Python programs without the time of their imports."""
    with Warm() as programs:
        yield programs


@pytest.fixture(scope="session")
def made_demo(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the demo that the examples of README and docs start with, once for all pages."""
    folder = tmp_path_factory.mktemp("made")
    make_demo(folder, warm)
    return folder
