"""Limit the memory, time and imports of this process, and describe how another one ended."""

import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from histo_index.wording import printable

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
