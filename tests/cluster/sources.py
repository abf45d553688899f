"""Encoders that are opened in other processes, and that may take their process with them."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.indexer.fakes import FakeEncoder


@dataclass(frozen=True, kw_only=True)
class FakeSource:
    """Opens a `FakeEncoder`.

    Attributes:
        folder: its files.
        log: gets a line per encoded content.
        deadly: the process that is asked for this name is killed, unless `survived` exists.
        survived: made just before.
        runtime: name of the runtime.
        delay_s: how long a tile takes.
        reports: an environment variable whose value is the name of the runtime.
        limited: the first process that opens the encoder makes this file, and may use fewer
            instructions of its CPU from then on.
    """

    folder: Path
    log: Path | None = None
    deadly: str = ""
    survived: Path | None = None
    runtime: str = "fake"
    delay_s: float = 0.0
    reports: str = ""
    limited: Path | None = None

    def __call__(self) -> FakeEncoder:
        if self.limited is not None:
            with suppress(FileExistsError):
                self.limited.touch(exist_ok=False)
                os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
        return FakeEncoder(
            folder=self.folder,
            log=self.log,
            before=self._strike,
            runtime=os.environ.get(self.reports, "unset") if self.reports else self.runtime,
            delay_s=self.delay_s,
        )

    def _strike(self, path: Path) -> None:
        if path.name != self.deadly or (self.survived and self.survived.exists()):
            return
        if self.survived:
            self.survived.touch()
        os.kill(os.getpid(), signal.SIGKILL)
