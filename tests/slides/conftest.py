from pathlib import Path

import pytest

from tests.slide_files import Pixels, draw_plane, write_slide


@pytest.fixture(scope="session")
def plane() -> Pixels:
    return draw_plane()


@pytest.fixture(scope="session")
def slide(plane: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 0.5 µm/px with levels 1 and 4, tissue in columns 1 to 3 and rows 1 to 2."""
    return write_slide(tmp_path_factory.mktemp("slides") / "slide.tiff", plane)
