from collections.abc import Iterator

import pytest

from tests.serve.site import Client, Site, serving
from tests.serve.slides.slide_site import make_slide_site


@pytest.fixture(scope="session")
def slide_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build the index that all tests of slides ask, once."""
    return make_slide_site(tmp_path_factory.mktemp("secret place"))


@pytest.fixture(scope="session")
def slide_client(slide_site: Site) -> Iterator[Client]:
    """Serve it to tests that only read."""
    with serving(slide_site.config()) as found:
        yield found


@pytest.fixture(scope="session")
def slide_ids(slide_client: Client) -> list[str]:
    """The ids of the slides in the order of the index."""
    return [slide["id"] for slide in slide_client.json("/v1/slides")["slides"]]
