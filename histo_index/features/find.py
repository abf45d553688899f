"""Find the files of features in files and folders."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from histo_index.errors import InputError
from histo_index.features.layouts.opening import EXTRAS, SUFFIXES, ZARR
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.safe_paths import leads_out, printable_name


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files below what was named.

    Attributes:
        files: sorted within each input; a Zarr store is one.
        rejected: files that are not even opened.
        ignored: files of other kinds, and tables of ids.
    """

    files: tuple[Path, ...]
    rejected: tuple[Rejection, ...]
    ignored: int


def find_files(inputs: Sequence[Path]) -> Found:
    """List the files of features: files as named, and what lies in folders.

    Raises:
        InputError: an input does not exist, there is no such file, or the library that reads it is
            not installed.
    """
    files: dict[Path, None] = {}
    rejected, ignored = [], 0
    for source in inputs:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        if not source.is_dir() or source.suffix.lower() == ZARR:
            files[source] = None
            continue
        for path, problem in _walk(source):
            if problem is not None:
                rejected.append(Rejection(path=printable_name(str(path)), reason=problem))
            elif path.suffix.lower() in SUFFIXES and not _is_table_of_ids(path):
                files[path] = None
            else:
                ignored += 1
    for path in [path for path in files if not (path.is_file() or path.is_dir())]:
        # To open a named pipe waits for its writer.
        del files[path]
        rejected.append(Rejection(path=printable_name(str(path)), reason="not a regular file"))
    if not files and not rejected:
        names = ", ".join(str(source) for source in inputs)
        raise InputError(f"{names}: no features found; expected {', '.join(sorted(SUFFIXES))}")
    _require_libraries(files)
    return Found(files=tuple(files), rejected=tuple(rejected), ignored=ignored)


def _walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield each file, sorted, and why it is not opened."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        stores = [name for name in folders if name.lower().endswith(ZARR)]
        folders[:] = sorted(n for n in folders if n not in stores and not n.startswith("."))
        for name in sorted([*names, *stores]):
            if not name.startswith("."):
                yield Path(place, name), leads_out(place, name, root)


def _is_table_of_ids(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" and path.with_suffix(".npy").is_file()


def _require_libraries(files: Sequence[Path] | dict[Path, None]) -> None:
    for path in files:
        module, extra = EXTRAS.get(path.suffix.lower(), ("", ""))
        if module and importlib.util.find_spec(module) is None:
            raise InputError(
                f"{path}: needs {module}, which is not installed; run "
                f"pip install 'histo-index[{extra}]'"
            )
