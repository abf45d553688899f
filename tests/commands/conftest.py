"""An index of numbers, shared with the tests of `search`."""

from tests.search.conftest import numbers as numbers
