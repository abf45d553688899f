"""Promise 5: one writer. The second is refused, the first named; a dead holder frees the lock."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from histo_index.errors import LockedError
from histo_index.indexer.format.lock import writer_lock
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    files_of,
    numbered,
    require_sound,
    run_build,
)
from tests.promises.child import ROOT
from tests.promises.conftest import Tell, Tries

# A server that forks a build for each line. The build stops in the middle of encoding, with a
# child that outlives it, as a decoder may, and goes on when asked to.
_HOLD = """
import os, subprocess, sys
from pathlib import Path
import histo_index.indexer.nearest.exact
from tests.indexer.fakes import FakeEncoder, run_build

def stop(path):
    if path.name == "t0009.png":
        other = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, close_fds=False)
        print(os.getpid(), other.pid, flush=True)
        sys.stdin.readline()

tiles, output = map(Path, sys.argv[1:])
encoder = FakeEncoder(folder=output.parent / "fake-encoder", before=stop)
while sys.stdin.readline() == "build\\n":
    process = os.fork()
    if process == 0:
        run_build(output, encoder, tiles)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Holders:
    """Builds that hold the lock, one after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    @contextmanager
    def building(self) -> Iterator[int]:
        """Begin a build, and give the process that holds the lock."""
        self._say("build")
        holder, outliving = map(int, self._hear().split())
        yield holder
        os.kill(outliving, signal.SIGKILL)

    def end(self, holder: int, how: signal.Signals | None) -> int:
        """Kill the holder, or let it finish; gives its exit status."""
        if how is None:
            self._say("go on")
        else:
            os.kill(holder, how)
        return int(self._hear())

    def _say(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()

    def _hear(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()


@pytest.fixture
def holders(tiles: Path, tmp_path: Path) -> Iterator[Holders]:
    command = [sys.executable, "-u", "-c", _HOLD, tiles, tmp_path / "tiles.hx"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as server:  # type: ignore[call-overload]
        yield Holders(server)


def require_refused(tiles: Path, output: Path, encoder: FakeEncoder, process: int) -> None:
    """Check that no writer gets in, does any work, or changes anything."""
    before = files_of(output)
    for write in (lambda: run_build(output, encoder, tiles), lambda: reindex(output)):
        with pytest.raises(LockedError) as caught:
            write()
        assert re.sub(r"since 2[^;]+", "since 2", str(caught.value)) == (
            f"{output} is being written by process {process} on host {socket.gethostname()} "
            "since 2; wait for it or stop it"
        )
    assert encoder.encoded == []
    assert files_of(output) == before


def test_the_second_is_refused_and_a_dead_holder_holds_nothing(
    tiles: Path,
    tmp_path: Path,
    encoder: FakeEncoder,
    holders: Holders,
    tries: Tries,
    tell: Tell,
) -> None:
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    rounds = tries(9, 500)
    ends = itertools.cycle((signal.SIGKILL, signal.SIGTERM, None))
    for number in range(rounds):
        for name in numbered(12):
            (tiles / name).write_text(f"round {number} of {name}")
        with holders.building() as holder:
            require_refused(tiles, output, encoder, holder)
            end = next(ends)
            assert holders.end(holder, end) == (0 if end is None else -end)
            report = run_build(output, encoder, tiles)
            # The shard that the dead one had finished is not encoded again.
            assert report.encoded == (0 if end is None else 4)
            require_sound(output, expected_rows(tiles, numbered(20)))
    tell(f"{rounds} rounds of a second writer, {rounds} ends of the first", "0 let in, 0 kept out")


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
