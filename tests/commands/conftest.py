"""An index of numbers, shared with the tests of `search`."""

from tests.search.conftest import numbers

__all__ = ["numbers"]
