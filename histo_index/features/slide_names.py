"""Look up slides by name: tables and features call them with or without folder and suffix."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final, Generic, TypeVar

from histo_index.slides.reading.identity import DICOM_SUFFIX, SLIDE_SUFFIXES, TIFF_SUFFIXES

_SUFFIXES: Final = SLIDE_SUFFIXES | TIFF_SUFFIXES | {DICOM_SUFFIX}
# Tools leave this out of a slide's name too.
_SECOND: Final = ".ome"

_Value = TypeVar("_Value")


def bare_name(name: str) -> str:
    """Return the name of a slide without folder and suffix; a dot in the name itself stays."""
    path = PurePosixPath(name)
    stem = path.stem if path.suffix.lower() in _SUFFIXES else path.name
    return stem.removesuffix(_SECOND)


class SlideNames(Generic[_Value]):
    """What is known of slides, by their names."""

    def __init__(self, known: Iterable[tuple[str, _Value]]) -> None:
        """Take in the name and the value of each slide."""
        # In three forms, the most exact first.
        self._forms: list[dict[str, list[_Value]]] = [defaultdict(list) for _ in range(3)]
        for name, value in known:
            for found, form in zip(self._forms, _forms(name), strict=True):
                found[form].append(value)

    def find(self, name: str) -> list[_Value]:
        """Return the values of a slide: one, none if it is unknown, more if the name is not clear.

        An equal name comes first, then an equal file name, then one without the suffix.
        """
        for found, form in zip(self._forms, _forms(name), strict=True):
            if form in found:
                return found[form]
        return []


def _forms(name: str) -> tuple[str, str, str]:
    return name, PurePosixPath(name).name, bare_name(name)
