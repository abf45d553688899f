"""The command line in this process; the index and its server are in `tests/conftest.py`."""

from tests.cli.conftest import run

__all__ = ["run"]
