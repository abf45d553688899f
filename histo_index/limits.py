"""Limit the memory, time and imports of this process, and describe how another one ended."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from histo_index.wording import printable

_Item = TypeVar("_Item")
# No disk delivers nothing for so long and then goes on.
STILL_S: Final = 180.0
# Exit status of a process that computed nothing for too long.
STILL_STATUS: Final = 97
STILL: Final = "reading it stood still; check its disk or network share, then try again"
# How often it is looked at in that time, and what a process that waits in vain uses between looks.
_LOOKS: Final = 10
_IDLE_CPU_S: Final = 0.001

_PANDAS: Final = "pandas"
# Where pyarrow asks for pandas, the nearest Python code is one of these: its own has no frames.
_ASKING: Final = ("histo_index", "pyarrow")


def limit_process(*, memory: int, cpu_s: int) -> None:
    """Limit what this process may use from now on, where the system can.

    The hard limits stay as they are, so that the soft ones can be set again.

    Args:
        memory: bytes that it may allocate beyond what it has mapped.
        cpu_s: CPU time beyond what it has used.
    """
    # Windows has no such limits, and only Linux reports the mapped memory.
    with suppress(ImportError, FileNotFoundError):
        import resource

        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        used = os.times()
        limits = (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, math.ceil(used.user + used.system) + cpu_s),
            (resource.RLIMIT_AS, mapped + memory),
        )
        for kind, wanted in limits:
            # The hard limit belongs to the user; the soft limit can be lifted again.
            _, most = resource.getrlimit(kind)
            is_free = most == resource.RLIM_INFINITY
            resource.setrlimit(kind, (wanted if is_free else min(wanted, most), most))


def lift_memory_limit() -> None:
    """Take back the limit on memory."""
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextmanager
def ending_if_still(
    seconds: float,
    *,
    cpu_s: Callable[[], float] = time.process_time,
    end: Callable[[int], object] = os._exit,
) -> Iterator[None]:
    """End this process if it computes nothing for some time, as in a read that never ends.

    A slow disk is no reason: what it delivers is decoded. Looks are counted, because the time in
    which the process itself was stopped does not count.

    Args:
        seconds: how long it may compute nothing.
        cpu_s: returns the CPU time of the process in seconds.
        end: ends the process with a status.
    """
    is_done = threading.Event()

    def watch() -> None:
        before, still = cpu_s(), 0
        while still < _LOOKS and not is_done.wait(seconds / _LOOKS):
            used = cpu_s()
            still, before = (still + 1 if used - before < _IDLE_CPU_S else 0), used
        if still == _LOOKS:
            end(STILL_STATUS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_done.set()
        watcher.join()


def watched(items: Iterable[_Item], seconds: float) -> Iterator[_Item]:
    """Yield items; the process ends if it stands still in the making of one.

    What is done with an item does not count: to send it may take as long as the other side likes.
    """
    iterator = iter(items)
    while True:
        with ending_if_still(seconds):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


@contextmanager
def without_pandas() -> Iterator[None]:
    """Hide pandas from pyarrow, which imports it for any array of NumPy: half a second.

    Other libraries, and the code of a user's own encoder, can import it.
    """
    # Not derived from MetaPathFinder, whose module takes 5 ms to import.
    hiding: Any = _WithoutPandas()
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)


class _WithoutPandas:
    """Finds nothing, and says so of pandas where pyarrow asks."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == _PANDAS and _asking_module().startswith(_ASKING):
            raise ModuleNotFoundError(name)


def _asking_module() -> str:
    """Name the module whose import looks for something."""
    frame = sys._getframe(2)
    while frame.f_back and "importlib" in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def describe_end(status: int, stderr: bytes) -> str:
    """Describe in a few words how a process ended.

    Args:
        status: its exit status; that of a signal is negative.
        stderr: what it wrote there.
    """
    if status < 0:
        return f"killed by signal {-status}: {signal.strsignal(-status)}"
    last = stderr.decode(errors="replace").strip().splitlines()[-1:]
    return printable(" ".join(last[0].split()))[:200] if last else f"status {status}"
