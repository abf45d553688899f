"""Builds in processes that may be killed: a server that forks once per job.

Run as a program it reads jobs from stdin, one JSON object a line, and answers each with one. The
imports are paid for once. A job's process can be made to die at its n-th step on the file system,
which an audit hook counts from outside of the code under test, or after some time.
"""

import gc
import importlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.compact import compact
from histo_index.search.answers.removal import RemoveConfig, remove, restore
from histo_index.search.calibration.calibration import store_calibration
from histo_index.search.calibration.otsu import guess
from tests.indexer.fakes import FakeEncoder, run_build

ROOT: Final = Path(__file__).parents[2]
# Steps at which a name appears, moves or goes, or a file is opened for writing.
_STEPS: Final = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")
# Imports this module, hence imported late.
_SLIDES: Final = "tests.promises.slides"
KILLED: Final = -signal.SIGKILL
# In the middle of a write; the system's own signal for a file that grows too large.
KILLED_WRITING: Final = -signal.SIGXFSZ


# The first three of `numbered` tiles.
_FIRST: Final = RemoveConfig(where="image_id < 't0003.png'")


def _calibrate(output: Path) -> None:
    index = OpenIndex(output)
    store_calibration(output, guess(index))


CHANGES: Final[dict[str, Callable[[Path], object]]] = {
    "remove": lambda output: remove(OpenIndex(output), _FIRST),
    "restore": lambda output: restore(output, everything=True),
    "compact": compact,
    "purge": lambda output: remove(OpenIndex(output), RemoveConfig(purge=True)),
    "calibrate": _calibrate,
}


class ChildBuilds:
    """The server, from the side of the tests."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.promises.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)

    def run(
        self,
        tiles: Path,
        output: Path,
        *,
        command: str = "build",
        shard_rows: int = 8,
        delay_s: float = 0.0,
        die_at: int = 0,
        kill_after_s: float | None = None,
        largest_file: int | None = None,
        is_deadly: bool = False,
        log: Path | None = None,
        has_slides: bool = False,
    ) -> dict[str, Any]:
        """Build in another process, or change an index otherwise.

        Args:
            tiles: the source folder.
            output: the index.
            command: `build`, or a name of CHANGES.
            shard_rows: tiles per shard.
            delay_s: how long the fake encoder takes for a tile.
            die_at: the write to the file system before which it kills itself; 0 for never.
            kill_after_s: when it is killed from outside.
            largest_file: bytes after which a write fails.
            is_deadly: such a write kills the process in its middle instead.
            log: gets the hash of every content that is encoded.
            has_slides: the source folder holds slides, which are cut into tiles.

        Returns:
            `status` (0 finished, 1 failed, KILLED, KILLED_WRITING), and unless it was killed
            `error`, `steps` counted, and the `warnings` logged.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {name: value for name, value in locals().items() if name != "self"}
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def main() -> None:
    # What a build loads late; threads do not survive a fork, so nothing is tried out here.
    import duckdb  # noqa: F401
    import pandas as pd  # noqa: F401 - pyarrow imports it where it is installed

    import histo_index.indexer.nearest.exact  # noqa: F401

    # So that a collection in a forked process does not copy every page of the modules.
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        if job["has_slides"]:
            # Once, before the fork: reading slides brings heavy libraries.
            importlib.import_module(_SLIDES)
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            _run_job(job, writer)
        os.close(writer)
        if job["kill_after_s"] is not None:
            time.sleep(job["kill_after_s"])
            os.kill(process, signal.SIGKILL)
        with open(reader, encoding="utf-8") as file:
            said = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        print(json.dumps({"status": status, **json.loads(said or "{}")}), flush=True)


def _run_job(job: dict[str, Any], writer: int) -> None:
    output = Path(job["output"])
    encoder = FakeEncoder(
        folder=Path(job["tiles"]).parent / "fake-encoder",
        log=None if job["log"] is None else Path(job["log"]),
        delay_s=job["delay_s"],
    )
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    steps = _count_steps(str(output), job["die_at"])
    if job["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
    if job["is_deadly"]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    error = None
    try:
        if job["command"] == "build":
            build = importlib.import_module(_SLIDES).build if job["has_slides"] else run_build
            build(output, encoder, Path(job["tiles"]), shard_rows=job["shard_rows"])
        else:
            CHANGES[job["command"]](output)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    said = {"error": error, "steps": len(steps), "warnings": warnings}
    os.write(writer, json.dumps(said).encode())
    os._exit(0 if error is None else 1)


def _is_step(event: str, arguments: tuple[Any, ...]) -> bool:
    # A read changes nothing on disk: to kill before the next write is the same.
    is_read = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    return event in _STEPS and not is_read


def _count_steps(folder: str, die_at: int) -> list[str]:
    steps: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if _is_step(event, arguments) and str(arguments[0]).startswith(folder):
            steps.append(event)
            if len(steps) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return steps


if __name__ == "__main__":
    main()
