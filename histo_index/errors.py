"""Every exception that histo-index raises on purpose.

A message is one line: what is wrong, with the path and the value; what was expected; what to do.
"""

from typing import ClassVar


class HistoIndexError(Exception):
    """Base of everything raised on purpose; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class ImageError(HistoIndexError):
    """An image cannot be read or used."""


class InputError(HistoIndexError, ValueError):
    """Something the user passed cannot be used: a missing file, an unknown column, a bad value."""

    exit_code: ClassVar[int] = 2


class IndexFormatError(HistoIndexError):
    """An index or encoder folder is missing, damaged, or of a version this release cannot read."""


class MismatchError(HistoIndexError):
    """Parts that do not belong together, such as an index and another encoder."""

    exit_code: ClassVar[int] = 4


class LockedError(HistoIndexError):
    """Another process is writing the index."""


class TrainingError(HistoIndexError):
    """A training run cannot go on: it collapsed, diverged or ran out of memory."""


class ShapeError(HistoIndexError, ValueError):
    """An array has the wrong shape, type or row length."""
