"""Promise 26: nothing talks to the network unasked, and nothing is written where nobody looks.

Every command runs traced, with all that it starts: no socket but those of this machine's own
processes, and no file made outside the folders it was told of.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Workshop
from tests.promises.child import ROOT
from tests.promises.conftest import Tell, Tries
from tests.promises.tracing import Call, trace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="traces system calls of Linux")

COMMANDS = (
    ["build", "tiles", "-o", "new.hx", "--encoder", "encoder"],
    ["pair", "unseen.png", "unseen.png", "-i", "tiles.hx"],
    ["search", "unseen.png", "-i", "tiles.hx", "--where", "mpp < 9", "--montage", "found.png"],
    ["evaluate", "-i", "tiles.hx"],
    ["reindex", "-i", "tiles.hx"],
    ["info", "-i", "tiles.hx", "--verify"],
    ["doctor"],
)
_SOCKETS = ("socket", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "io_uring_setup")
_MAKES = ("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "rename", "renameat2", "linkat")
# AF_UNIX: asking this machine's own services for a user's name is what the C library does.
_LOCAL = 1
_SYSTEM = ("/dev/", "/proc/", "/sys/")


def talks(calls: list[Call]) -> list[Call]:
    """Pick the calls that reach for another machine, or could without being seen."""
    return [
        call
        for call in calls
        if call.name == "io_uring_setup" or (call.name == "socket" and call.arguments[0] != _LOCAL)
    ]


def made(calls: list[Call]) -> set[str]:
    """Name the files and folders that were made or opened for writing."""
    places = {"open": 1, "openat": 2}
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    return {
        call.paths[-1]
        for call in calls
        if call.name in _MAKES
        and call.result >= 0
        and (call.name not in places or call.arguments[places[call.name]] & flags)
        and not call.paths[-1].startswith(_SYSTEM)
    }


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_command_opens_no_socket_and_writes_only_where_it_was_told(
    workshop: Workshop, tmp_path: Path, arguments: list[str], tell: Tell
) -> None:
    tile = next(workshop.tiles.rglob("*.png"))
    (workshop.folder / "unseen.png").write_bytes(tile.read_bytes() + b"more")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    done, calls = trace(
        [sys.executable, "-B", "-m", "histo_index", *arguments],
        tmp_path / "trace",
        *_SOCKETS,
        *_MAKES,
        # Not as in CI, where some libraries keep quiet by themselves.
        env={
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "CI": "",
            "XDG_CACHE_HOME": "",
            "XDG_CONFIG_HOME": "",
        },
    )
    assert done.returncode == 0 or (arguments[0], done.returncode) == ("doctor", 1), done.stderr
    assert talks(calls) == []
    assert list(home.iterdir()) == []
    written = {"build": "new.hx", "search": "found.png", "reindex": "tiles.hx"}
    allowed = [temporary, *(tmp_path / written[name] for name in arguments[:1] if name in written)]
    # A file is written beside its place, under a name of its own.
    places = {re.sub(r"\.tmp-[0-9a-f]+-", "", path) for path in made(calls)}
    assert {path for path in places if not path.startswith(tuple(map(str, allowed)))} == set()
    assert list(temporary.iterdir()) == []
    tell(
        f"{arguments[0]}: {len(calls)} opens and socket calls", "0 to a network, 0 files elsewhere"
    )


def test_a_program_that_talks_is_seen(tmp_path: Path) -> None:
    program = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    for script in (program, child):
        _, calls = trace([sys.executable, "-c", script], tmp_path / "trace", *_SOCKETS)
        assert [call.name for call in talks(calls)] == ["socket"]


def test_all_other_tests_traced(tmp_path: Path, tries: Tries, tell: Tell) -> None:
    if tries(0, 1) == 0:
        pytest.skip("in the long form: takes as long as all the other tests")
    rest = [path for path in sorted((ROOT / "tests").iterdir()) if path.name != "promises"]
    tests = [str(path) for path in rest if path.is_dir() or path.name.startswith("test_")]
    done, calls = trace(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        tmp_path / "trace",
        "socket",
        cwd=ROOT,
        timeout=None,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert talks(calls) == []
    tell("all other tests, traced", f"{len(calls)} sockets, 0 of them to a network")
