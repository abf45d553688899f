import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def ray_is_untidy() -> Iterator[None]:
    """Ray drops handles of processes that it has killed, which warn as they go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
