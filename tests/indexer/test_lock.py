"""One writer: the second is told who the first is, and the dead hold nothing."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from histo_index.errors import LockedError
from histo_index.indexer.commit import reindex
from histo_index.indexer.lock import writer_lock
from tests.indexer.child import ROOT
from tests.indexer.fakes import FakeEncoder, files_of, run_build

_HOLD = """
import sys
from pathlib import Path
from histo_index.indexer.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_process_and_host_of_the_first(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    before = files_of(output)
    with holder(output) as process:
        for write in (lambda: run_build(output, encoder, tiles), lambda: reindex(output)):
            with pytest.raises(LockedError) as caught:
                write()
            message = str(caught.value)
            assert message.startswith(
                f"{output} is being written by process {process.pid} on host "
                f"{socket.gethostname()} since 2"
            )
            assert message.endswith("; wait for it or stop it")
        assert {**files_of(output), "lock": b""} == {**before, "lock": b""}
    assert run_build(output, encoder, tiles).encoded == 0


def test_a_holder_that_is_killed_or_ends_holds_nothing(tmp_path: Path) -> None:
    for end in (signal.SIGKILL, signal.SIGTERM, None):
        with holder(tmp_path) as process:
            with pytest.raises(LockedError), writer_lock(tmp_path):
                pass
            if end is None:
                assert process.stdin is not None
                process.stdin.close()
            else:
                process.send_signal(end)
            process.wait(timeout=60)
            with writer_lock(tmp_path):
                pass


def test_the_lock_is_also_kept_within_a_process_and_freed_by_an_exception(tmp_path: Path) -> None:
    refused = pytest.raises(LockedError, match=f"process {os.getpid()} on host ")
    with writer_lock(tmp_path), refused, writer_lock(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), writer_lock(tmp_path):
        _ = 1 // 0
    with writer_lock(tmp_path):
        pass


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"{}", b'{"process": 1', b"null"])
def test_whatever_the_lock_file_says_a_held_lock_is_held(tmp_path: Path, text: bytes) -> None:
    with writer_lock(tmp_path):
        (tmp_path / "lock").write_bytes(text)
        refused = pytest.raises(LockedError, match="another process that has just started")
        with refused, writer_lock(tmp_path):
            pass
    with writer_lock(tmp_path):
        pass
