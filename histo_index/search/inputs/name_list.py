"""Read the list of a batch of queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table

_COLUMNS: Final = ("image", "image_id", "path")


def gather_names(given: Sequence[str], batch: Path | None) -> list[str]:
    """Return the given names, then those of a list.

    Raises:
        InputError: there are none, or the list cannot be used.
    """
    names = [*given, *(read_names(batch) if batch else [])]
    if not names:
        raise InputError("no images: name some, or pass --batch LIST")
    return names


def read_names(path: Path) -> list[str]:
    """Read names of images: a text file with one a line, or a table with a column of them.

    Args:
        path: `.txt`; or CSV, TSV or Parquet with a column `image`, `image_id` or `path`.

    Raises:
        InputError: it cannot be read, has no such column, or holds no name.
    """
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise InputError(f"{path}: cannot be read ({reason}); pass a list of names") from error
    else:
        table = read_table(path)
        column = next((name for name in _COLUMNS if name in table.column_names), None)
        if column is None:
            raise InputError(
                f"{path}: no column called {', '.join(_COLUMNS[:-1])} or {_COLUMNS[-1]}; "
                "name the column of images so"
            )
        lines = [str(name) for name in table[column].to_pylist() if name is not None]
    names = [line for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path}: names no images; expected at least one")
    return names
