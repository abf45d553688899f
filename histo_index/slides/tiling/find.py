"""Find the slides in files and folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from histo_index.errors import InputError
from histo_index.slides.reading.identity import DICOM_SUFFIX, TIFF_SUFFIXES, is_slide_name


def find_slides(paths: Sequence[Path]) -> list[Path]:
    """List slides: files as named, and what lies in folders, sorted.

    A folder of DICOM files is one slide; the folder of a `.mrxs` file belongs to it. Hidden folders
    and indexes are not searched.

    Raises:
        InputError: a path does not exist, or there is no slide.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        found.update(dict.fromkeys(sorted(_walk(path)) if path.is_dir() else [path]))
    if not found:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"{names}: no slides found; expected SVS, NDPI, MRXS, TIFF or others")
    return list(found)


def is_dicom_folder(names: Sequence[str]) -> bool:
    """Return whether a folder with these files is a DICOM slide."""
    return any(name.lower().endswith(DICOM_SUFFIX) for name in names)


def skip_data_folders(folders: list[str], files: Sequence[str]) -> list[str]:
    """Leave out folders that belong to a slide, hidden ones and indexes."""
    owners = {os.path.splitext(name)[0] for name in files if name.lower().endswith(".mrxs")}
    return [
        name
        for name in folders
        if name not in owners and not name.startswith(".") and not name.endswith(".hx")
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = skip_data_folders(folders, files)
        if is_dicom_folder(files):
            yield Path(place)
            folders.clear()
            continue
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if not name.startswith(".") and (is_slide_name(name) or suffix in TIFF_SUFFIXES):
                yield Path(place, name)
