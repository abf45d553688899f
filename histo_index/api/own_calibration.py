"""The calibration of an index: use it if it fits, describe it, remove it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.errors import HistoIndexError, IndexFormatError, MismatchError
from histo_index.indexer.format.manifest import CALIBRATION_NAME, Manifest
from histo_index.search.calibration.calibration import Calibration, read_calibration

if TYPE_CHECKING:
    from histo_index.indexer.reader import OpenIndex
    from histo_index.search.classification.answer import Classifier
    from histo_index.slides.scale import Scale

_log = logging.getLogger(__name__)


class OwnCalibration:
    """The calibration of an open index, read when first needed.

    A calibration of another encoder or distance is ignored. A damaged or too new one is an error
    where it is needed. Both are logged once as a warning.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Prepare to read the calibration of an index; nothing is read yet."""
        self._folder = folder
        self._manifest = manifest
        self._found: Calibration | HistoIndexError | None = None
        self._is_read = False
        self._is_logged = False
        self._classifier: Classifier | None = None

    def get(self, *, is_needed: bool) -> Calibration | None:
        """Return the calibration, or None without a usable one.

        Args:
            is_needed: whether the answer depends on it.

        Raises:
            IndexFormatError: it is needed, but damaged or too new.
        """
        if not self._is_read:
            self.replace(self._read())
        if isinstance(self._found, Calibration | None):
            return self._found
        if is_needed and not isinstance(self._found, MismatchError):
            raise self._found
        if not self._is_logged:
            self._is_logged = True
            _log.warning("%s; it is not used", self._found)
        return None

    def classifier(self, index: "OpenIndex") -> "Classifier | None":
        """Return the class model of the index, or None without one."""
        calibration = self.get(is_needed=False)
        if calibration is None or calibration.classes is None:
            return None
        if self._classifier is None:
            # Imported here: a pair look-up needs no classes.
            from histo_index.search.classification.answer import Classifier

            self._classifier = Classifier(index, calibration.classes)
        return self._classifier

    def replace(self, found: Calibration | HistoIndexError | None) -> None:
        """Replace the calibration."""
        self._found, self._is_read, self._is_logged = found, True, False
        self._classifier = None

    def _read(self) -> Calibration | HistoIndexError | None:
        manifest = self._manifest
        try:
            return read_calibration(self._folder, manifest.fingerprint, manifest.distance_name)
        except (MismatchError, IndexFormatError) as error:
            return error


def describe_stored(folder: Path, manifest: Manifest) -> str:
    """Describe the calibration of an index in one line, usable or not."""
    try:
        found = read_calibration(folder, manifest.fingerprint, manifest.distance_name)
    except (MismatchError, IndexFormatError) as error:
        return str(error).removeprefix(str(folder / CALIBRATION_NAME)).lstrip(": ")
    return "none" if found is None else found.origin


def stored_scale(folder: Path, manifest: Manifest) -> "Scale | None":
    """Return the scale that an index was calibrated on; None if unknown or of no use."""
    try:
        found = read_calibration(folder, manifest.fingerprint, manifest.distance_name)
    except (MismatchError, IndexFormatError):
        return None
    return None if found is None else found.scale


def clear_calibration(folder: Path) -> bool:
    """Remove the calibration of an index, even a damaged one.

    Returns:
        Whether there was one.

    Raises:
        IndexFormatError: there is no index.
        LockedError: another process is writing the index.
        OSError: the folder is not writable.
    """
    # Imported here: look-ups never write.
    from histo_index.files import flush_folder
    from histo_index.indexer.writing.commit import changing

    with changing(folder):
        path = folder / CALIBRATION_NAME
        if not path.exists():
            return False
        path.unlink()
        flush_folder(folder)
        return True
