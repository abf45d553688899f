"""Run jobs in the child that reads foreign files, and go on after a job that ends it."""

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from histo_index.features.reading.frames import Frame, read_frame
from histo_index.limits import STILL, STILL_S, STILL_STATUS, describe_end
from histo_index.wording import printable

# As in the decode pool: nothing in the working directory can replace a module, and the child finds
# the package where the parent did.
_CHILD: Final = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from histo_index.features.reading.child import main; main()"
)
# Allocators and threads that reserve memory beyond their need, which is limited. Blocks of rows are
# allocated again and again: without new pages each time.
_FRUGAL: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": f"{2**25}",
    "MALLOC_TRIM_THRESHOLD_": f"{2**26}",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_PACKAGE_ROOT: Final = Path(__file__).parents[3]
# The most that Linux allows any user; blocks of rows are larger.
_PIPE_BYTES: Final = 2**20

# After the last word of a child: time to write a traceback and exit.
_EXIT_S: Final = 5.0
# How often a silent child is looked at.
_LOOK_S: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """What reading a file may take.

    Attributes:
        spare_bytes: memory for libraries, blocks and chunks; a tensor file may take three times
            its size beyond that.
        cpu_s: CPU time, beyond what a file of its size takes.
        still_s: wall time in which the child computes nothing: the disk is gone.
        wait_s: wall time without a word: something computes without end.
    """

    spare_bytes: int = 2**30
    cpu_s: int = 120
    still_s: float = STILL_S
    wait_s: float = 1800.0


def run_jobs(
    task: str,
    jobs: Sequence[Mapping[str, Any]],
    limits: ReadLimits | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Frame]:
    """Do jobs one after the other in a child process.

    Args:
        task: `describe` or `stream`.
        jobs: the files, see `child`.
        limits: memory and time; some systems cannot enforce all of them.
        clock: the time in seconds by which a silent child is killed.

    Yields:
        What the child says of each job, in order: its frames, then `end` or `error`. A child that
        dies costs the job it was at.
    """
    left = [{**job, "job": number} for number, job in enumerate(jobs)]
    while left:
        done = yield from _run(task, left, limits or ReadLimits(), clock)
        left = [job for job in left if job["job"] > done]


def _run(
    task: str, jobs: Sequence[Mapping[str, Any]], limits: ReadLimits, clock: Callable[[], float]
) -> Generator[Frame, None, int]:
    """Do jobs in one child; return the number of the last that ended, well or not."""
    last, numbers = int(jobs[-1]["job"]), {int(job["job"]) for job in jobs}
    done, current = int(jobs[0]["job"]) - 1, int(jobs[0]["job"])
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as asked:
        request = {"task": task, "jobs": list(jobs), "limits": asdict(limits)}
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        command = [sys.executable, "-P", "-c", _CHILD, str(_PACKAGE_ROOT)]
        child = subprocess.Popen(
            command,
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=errors,
            pipesize=_PIPE_BYTES,
            env={**os.environ, **_FRUGAL},
        )
        assert child.stdout is not None
        try:
            with _watching(child, limits.wait_s, clock) as heard:
                while (frame := _next(child.stdout)) is not None and frame.job in numbers:
                    heard()
                    current = frame.job
                    yield frame
                    heard()  # what is done with the rows is not the child's time
                    done = current if frame.kind in ("end", "error") else done
            # What it says last, and how it ends, is the reason.
            with suppress(subprocess.TimeoutExpired):
                child.wait(_EXIT_S)
        finally:
            child.kill()  # also where nobody wants the rest
            child.stdout.close()
            status = child.wait()
        if done == last:
            return done
        errors.seek(0)
        reason = STILL if status == STILL_STATUS else _describe_death(status, errors.read())
    current = max(current, done + 1)
    path = next(job["path"] for job in jobs if job["job"] == current)
    message = f"{printable(path)}: {reason}"
    yield Frame(kind="error", job=current, values={"message": message})
    return current


def _describe_death(status: int, stderr: bytes) -> str:
    how = describe_end(status, stderr)
    return f"the process that read it died ({how}); the file is damaged, hostile or too large"


def _next(stream: IO[bytes]) -> Frame | None:
    """Read the next frame; None if there is none."""
    try:
        return read_frame(stream)
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _watching(
    child: "subprocess.Popen[bytes]", wait_s: float, clock: Callable[[], float]
) -> Iterator[Callable[[], None]]:
    """Kill a child that was not heard of for too long."""
    stop, last = threading.Event(), [math.inf]  # until its first word it only starts

    def watch() -> None:
        while not stop.wait(_LOOK_S):
            if clock() - last[0] > wait_s:
                child.kill()

    def heard() -> None:
        last[0] = clock()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield heard
    finally:
        stop.set()
        watcher.join()
