"""Run a command with its temporary folders in memory: `python tests/in_memory.py pytest …`.

The tests wait for fsync more than for anything else. In memory it costs nothing. Where `/dev/shm`
is missing or has little room, the usual folder for temporary files is used. Everything is deleted
when the command ends, also if it failed or was interrupted. Run pytest without this script to keep
the files of a failed test.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = Path("/dev/shm")
PREFIX = "histo-index-tests-"
# With less free than this the usual folder is taken.
ROOM_BYTES = 2 << 30


def choose_parent(memory: Path = MEMORY, room_bytes: int = ROOM_BYTES) -> Path | None:
    """Return the folder in memory if it has room, else None: the usual one."""
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < room_bytes:
        return None
    return memory


def delete_leftovers(parent: Path) -> None:
    """Delete the folders of runs that were killed: the process in their name is gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        process = folder.name.removeprefix(PREFIX).split("-")[0]
        if process.isdecimal() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)


def run_with_temporary(command: Sequence[str], parent: Path | None) -> int:
    """Run a command with `TMPDIR` in a folder that is deleted at its end; return its exit code."""
    with TemporaryDirectory(
        prefix=f"{PREFIX}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
    ) as folder:
        # Tests that give up root's rights have to enter it.
        Path(folder).chmod(0o711)
        # A terminal interrupts the command too: wait until it has cleaned up.
        signal.signal(signal.SIGINT, lambda *_: None)
        child = subprocess.Popen(command, env={**os.environ, "TMPDIR": folder})
        signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
        return child.wait()


if __name__ == "__main__":
    chosen = choose_parent()
    if chosen is not None:
        delete_leftovers(chosen)
    code = run_with_temporary(sys.argv[1:], chosen)
    sys.exit(code if code >= 0 else 128 - code)
