"""Import libraries that only some users need."""

from importlib import import_module
from typing import Any

from histo_index.errors import InputError


def load_extra(library: str, extra: str) -> Any:
    """Import a library of an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise InputError(
            f"{library} is not installed; pip install 'histo-index[{extra}]'"
        ) from error
