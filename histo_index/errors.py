"""The exceptions that histo-index raises.

A message is one line: what is wrong, with the path and the value; what was expected; what to do.
"""

from typing import ClassVar


class HistoIndexError(Exception):
    """Base class; `exit_code` is the exit code of the command line."""

    exit_code: ClassVar[int] = 1


class ImageError(HistoIndexError):
    """An image cannot be read or used."""


class InputError(HistoIndexError, ValueError):
    """Something the user passed cannot be used: a missing file, an unknown column, a bad value."""

    exit_code: ClassVar[int] = 2


class IndexFormatError(HistoIndexError):
    """An index or encoder folder is missing, damaged, or of a version this release cannot read."""


class MismatchError(HistoIndexError):
    """Parts do not belong together, such as an index and another encoder."""

    exit_code: ClassVar[int] = 4


class LockedError(HistoIndexError):
    """Another process is writing the index."""


class PartialAnswerError(HistoIndexError):
    """Only some parts of an index answered."""


class TrainingError(HistoIndexError):
    """A training run stopped: it collapsed, diverged or ran out of memory."""


class ShapeError(HistoIndexError, ValueError):
    """An array has the wrong shape, type or row length."""
