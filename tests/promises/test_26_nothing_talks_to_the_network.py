"""Promise 26: nothing talks to the network unasked, and nothing is written where nobody looks.

Every command runs traced, with all that it starts: no socket but those of this machine's own
processes, and no file made outside the folders it was told of.
"""

import csv
import itertools
import os
import re
import subprocess
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
    [
        "train", "tiles", "-o", "new", "--arch", "resnet18", "--epochs", "1", "--batch", "8",
        "--crop", "32", "--tile", "48", "--device", "cpu", "--monitor", "tiles/labels.csv",
    ],
    ["pair", "unseen.png", "unseen.png", "-i", "tiles.hx", "--report", "report.html"],
    ["pairs", "pairs.csv", "-o", "answers.csv", "-i", "tiles.hx"],
    [
        "search", "unseen.png", "-i", "tiles.hx", "--where", "mpp < 9", "--montage", "found.png",
        "--report", "report.html",
    ],
    ["calibrate", "-i", "tiles.hx", "--pairs", "labelled.csv", "--group", "path"],
    ["evaluate", "-i", "tiles.hx", "--report", "report.html"],
    ["reindex", "-i", "tiles.hx"],
    ["info", "-i", "tiles.hx", "--verify"],
    ["doctor"],
)  # fmt: skip
# What each may write, beside what it keeps in the temporary folder and removes. Matplotlib, which
# draws some, lists the fonts it found once for all programs of the user; fontconfig, which it asks,
# keeps a list too.
_FONTS = ["home/.cache/matplotlib", "home/.config/matplotlib", "home/.cache/fontconfig"]
WRITTEN = {
    "build": ["new.hx"],
    "train": ["new", *_FONTS],
    "pair": ["report.html"],
    "pairs": ["answers.csv"],
    "search": ["found.png", "report.html"],
    "calibrate": ["tiles.hx"],
    "evaluate": ["report.html", *_FONTS],
    "reindex": ["tiles.hx"],
}
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
    flags_at = {"open": 1, "openat": 2}
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    return {
        call.paths[-1]
        for call in calls
        if call.name in _MAKES
        and call.result >= 0
        and (call.name not in flags_at or call.arguments[flags_at[call.name]] & flags)
        and not call.paths[-1].startswith(_SYSTEM)
    }


def write_questions(workshop: Workshop) -> None:
    """Write an image that the index lacks, a list with it, and a labelled list."""
    with (workshop.tiles / "labels.csv").open(newline="") as file:
        labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
    first = next(iter(labels))
    unseen = (workshop.tiles / first).read_bytes() + b"more"
    (workshop.folder / "unseen.png").write_bytes(unseen)
    (workshop.folder / "pairs.csv").write_text(f"{first},unseen.png\nunseen.png,{first}\n")
    pairs = itertools.combinations(labels, 2)
    labelled = "".join(f"{a},{b},{int(labels[a] == labels[b])}\n" for a, b in pairs)
    (workshop.folder / "labelled.csv").write_text(labelled)


def write_font_settings(home: Path) -> Path:
    """Write settings of fontconfig with no fonts, and with a list to make, on any machine."""
    (home / "fonts").mkdir()
    settings = home / "fonts.conf"
    settings.write_text(
        f"<fontconfig><dir>{home}/fonts</dir>"
        f"<cachedir>{home}/.cache/fontconfig</cachedir></fontconfig>"
    )
    return settings


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_command_opens_no_socket_and_writes_only_to_its_output(
    workshop: Workshop, tmp_path: Path, arguments: list[str], tell: Tell
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for cache in (".cache", ".config"):
        (tmp_path / "home" / cache).mkdir(parents=True)
    write_questions(workshop)
    fonts = write_font_settings(tmp_path / "home")
    done, calls = trace(
        [sys.executable, "-B", "-m", "histo_index", *arguments],
        tmp_path / "trace",
        *_SOCKETS,
        *_MAKES,
        # Not as in CI, where some libraries keep quiet by themselves.
        env={
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(temporary),
            "CI": "",
            "XDG_CACHE_HOME": "",
            "XDG_CONFIG_HOME": "",
            "FONTCONFIG_FILE": str(fonts),
        },
    )
    assert done.returncode == 0 or (arguments[0], done.returncode) == ("doctor", 1), done.stderr
    assert talks(calls) == []
    allowed = [temporary, *(tmp_path / name for name in WRITTEN.get(arguments[0], []))]
    # A file is written under a temporary name beside its final one.
    written = {re.sub(r"\.tmp-[0-9a-f]+-", "", path) for path in made(calls)}
    assert {path for path in written if not path.startswith(tuple(map(str, allowed)))} == set()
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


def test_no_test_looks_for_a_way_out(tries: Tries, tell: Tell) -> None:
    if tries(0, 1) == 0:
        pytest.skip("in the long form: takes as long as all the other tests")
    # The kernel counts whatever finds no route, also what a library then keeps to itself.
    counted = "cat /proc/net/snmp /proc/net/snmp6"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f"ip link set lo up; make test >&2; {counted}"],
        cwd=ROOT,
        # Not those that are made to talk: processes that train together, which `torchrun` joins by
        # looking up their names, and a browser.
        env={**os.environ, "PYTEST_ADDOPTS": "-k 'not gloo and not browser'"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names, values = (line.split() for line in done.stdout.splitlines() if line.startswith("Ip:"))
    ways = [int(values[names.index("OutNoRoutes")])]
    ways += [int(count) for count in re.findall(r"Ip6OutNoRoutes\s+(\d+)", done.stdout)]
    assert ways == [0, 0]
    tell("all tests without a network", f"{sum(ways)} packets that found no route")
