"""The two lengths in which tests run: with each push, and with `--long`."""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.doc_pages import make_demo
from tests.warm import Warm

if TYPE_CHECKING:
    from tests.serve.site import Client, Site

Tries: TypeAlias = Callable[[int, int], int]


def pytest_configure() -> None:
    """Keep no converted networks in the cache of whoever runs the tests."""
    os.environ["HISTO_INDEX_CACHE"] = ""


def pytest_collection_finish() -> None:
    """Spare each garbage collection the modules: with torch's, one takes a third of a second."""
    gc.collect()
    gc.freeze()


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
def site(tmp_path_factory: pytest.TempPathFactory) -> "Site":
    """Build the index that all tests of the server ask, once."""
    from tests.serve.site import make_site

    return make_site(tmp_path_factory.mktemp("private place"))


@pytest.fixture(scope="session")
def client(site: "Site") -> "Iterator[Client]":
    """Serve it to tests that only read."""
    from tests.serve.site import serving

    with serving(site.config()) as found:
        yield found


@pytest.fixture
def own_site(site: "Site", tmp_path: Path) -> "Site":
    """Copy it for a test that changes it."""
    return site.copy(tmp_path / "own")


@pytest.fixture(scope="session")
def made_demo(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the demo that the examples of README and docs start with, once for all pages."""
    folder = tmp_path_factory.mktemp("made")
    make_demo(folder, warm)
    return folder


@pytest.fixture
def ray_is_untidy() -> Iterator[None]:
    """Ray drops handles of processes that it has killed, which warn as they go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
