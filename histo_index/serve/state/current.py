"""The newest state of the index: a new generation is noticed and taken over without a break."""

import logging
import os
import threading
import time
from typing import Final

from histo_index.api.index import Index
from histo_index.errors import HistoIndexError
from histo_index.indexer.format.manifest import CALIBRATION_NAME, MANIFEST_NAME
from histo_index.serve.config import ServeConfig
from histo_index.serve.safety.token import derive
from histo_index.serve.state.engine import Engine
from histo_index.serve.state.snapshot import Snapshot

# After a failure the index is tried again, though its manifest is unchanged.
_RETRY_S: Final = 5.0

_log = logging.getLogger(__name__)
_State = tuple[tuple[int, int, int] | None, ...]


class Current:
    """Holds the state that requests are answered from."""

    def __init__(self, config: ServeConfig) -> None:
        """Open the index.

        Raises:
            IndexFormatError: it is missing, damaged or too new.
        """
        self._config = config
        self._key = derive(config.token, "ids")
        self._lock = threading.Lock()
        self._engines: dict[str, Engine] = {}
        self._state = self._look()
        self._tried = time.monotonic()
        self._error: HistoIndexError | None = None
        self._snapshot = self._open()

    def get(self) -> Snapshot:
        """Return the newest state; while one thread opens it, others get the one before.

        Raises:
            HistoIndexError: it cannot be opened.
        """
        if self._must_open() and self._lock.acquire(blocking=False):
            try:
                self._reopen()
            finally:
                self._lock.release()
        if self._error is not None:
            raise self._error
        return self._snapshot

    def close(self) -> None:
        """End the processes of all engines."""
        for engine in self._engines.values():
            engine.close()

    def _must_open(self) -> bool:
        is_due = self._error is not None and time.monotonic() - self._tried > _RETRY_S
        return is_due or self._look() != self._state

    def _reopen(self) -> None:
        # Looked at before it is opened: what changes meanwhile is noticed next time.
        self._state, self._tried = self._look(), time.monotonic()
        try:
            self._snapshot, self._error = self._open(), None
        except HistoIndexError as error:
            self._error = error
            _log.warning("%s", error)

    def _open(self) -> Snapshot:
        config = self._config
        index = Index(config.index, device=config.device, any_mpp=config.any_mpp)
        fingerprint = index.manifest.fingerprint
        if fingerprint not in self._engines:
            self._engines[fingerprint] = Engine(
                index.opened, device=config.device, limits=config.limits
            )
        parts = None if config.divide is None else config.divide(index)
        return Snapshot(index, self._engines[fingerprint], config, key=self._key, parts=parts)

    def _look(self) -> _State:
        """Identify the files by which a generation and a calibration are committed."""
        found: list[tuple[int, int, int] | None] = []
        for name in (MANIFEST_NAME, CALIBRATION_NAME):
            try:
                status = os.stat(self._config.index / name)
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append(None)
        return tuple(found)
