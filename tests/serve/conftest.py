"""One index and one server for all tests that only read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.site import Client, Site, make_site, serving


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("private place"))


@pytest.fixture
def own_site(site: Site, tmp_path: Path) -> Site:
    """A copy to change."""
    shutil.copytree(site.folder, tmp_path / "own")
    return Site(folder=tmp_path / "own")


@pytest.fixture(scope="session")
def client(site: Site) -> Iterator[Client]:
    with serving(site.config()) as found:
        yield found
