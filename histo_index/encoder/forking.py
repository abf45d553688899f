"""Keep forked processes from using or freeing the runtime of their parent.

A forked child has a single thread. OpenVINO (2026.4) then blocks forever when a model of the parent
is used or freed. A model that is compiled in the child works.
"""

import ctypes
import os
from typing import Final
from weakref import WeakSet

from histo_index.errors import HistoIndexError

_runtimes: Final[WeakSet[object]] = WeakSet()


def keep_in_children(runtime: object) -> None:
    """Keep this object alive in every process that is forked from this one."""
    _runtimes.add(runtime)


def require_same_process(process: int) -> None:
    """Check that a stream continues in the process that started it.

    Raises:
        HistoIndexError: this process was forked since.
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
