"""What a forked child does with what its parent has running.

A child has one thread, whichever its parent has. OpenVINO (2026.4) waits for the others for ever:
when a model is asked, and when it is freed. A model that is compiled in the child works.
"""

import ctypes
import os
from typing import Final
from weakref import WeakSet

from histo_index.errors import HistoIndexError

_runtimes: Final[WeakSet[object]] = WeakSet()


def keep_in_children(runtime: object) -> None:
    """Never free this object in a process that is forked from this one."""
    _runtimes.add(runtime)


def require_same_process(process: int) -> None:
    """Check that a stream goes on in the process that started it.

    Raises:
        HistoIndexError: it was started before a fork.
    """
    if process != os.getpid():
        raise HistoIndexError(
            f"this stream of tiles was started by process {process}, before a fork; "
            "start it again in the child"
        )


def _keep_runtimes() -> None:
    for runtime in list(_runtimes):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(runtime))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_runtimes)
