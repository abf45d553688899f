"""Keep pyarrow from importing pandas."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

PANDAS: Final = "pandas"


class _WithoutPandas(MetaPathFinder):
    """Finds everything but pandas."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == PANDAS:
            raise ModuleNotFoundError(name)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Hide pandas, which pyarrow imports for any array of NumPy: half a second."""
    hiding = _WithoutPandas()
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)
