"""Promise 26: nothing talks to the network unasked, and nothing is written where nobody looks.

Every command runs traced, with all that it starts: no socket but those of this machine's own
processes, and no file made outside the folders it was told of.
"""

import csv
import itertools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Workshop
from tests.conftest import is_long
from tests.promises.conftest import Tell, Tries
from tests.promises.tracing import Call, trace
from tests.warm import ERR, OUT, ROOT, job_line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="traces system calls of Linux")

COMMANDS = {
    "build": ["build", "tiles", "-o", "new.hx", "--encoder", "encoder"],
    "train": [
        "train", "tiles", "-o", "new", "--arch", "resnet18", "--epochs", "1", "--batch", "8",
        "--crop", "32", "--tile", "48", "--device", "cpu", "--monitor", "tiles/labels.csv",
    ],
    "pair": ["pair", "unseen.png", "unseen.png", "-i", "tiles.hx", "--report", "report.html"],
    "pairs": ["pairs", "pairs.csv", "-o", "answers.csv", "-i", "tiles.hx"],
    "search": [
        "search", "unseen.png", "-i", "tiles.hx", "--where", "mpp < 9", "--montage", "found.png",
        "--report", "report.html",
    ],
    "calibrate": ["calibrate", "-i", "tiles.hx", "--pairs", "labelled.csv", "--group", "path"],
    "evaluate": ["evaluate", "-i", "tiles.hx", "--report", "report.html"],
    "reindex": ["reindex", "-i", "tiles.hx"],
    "info": ["info", "-i", "tiles.hx", "--verify"],
    "doctor": ["doctor"],
}  # fmt: skip
# What each may write, beside what it keeps in the temporary folder and removes.
WRITTEN = {
    "build": ["new.hx"],
    "train": ["new"],
    "pair": ["report.html"],
    "pairs": ["answers.csv"],
    "search": ["found.png", "report.html"],
    "calibrate": ["tiles.hx"],
    "evaluate": ["report.html", "tiles.hx/search/"],
    "reindex": ["tiles.hx"],
}
# Matplotlib, which draws for some, lists the fonts it found once for all programs of the user;
# fontconfig, which it asks, keeps a list too.
DRAW = ("train", "evaluate")
FONTS = [".cache/matplotlib", ".config/matplotlib", ".cache/fontconfig"]
_SOCKETS = ("socket", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "io_uring_setup")
_MAKES = ("openat2", "creat", "mkdir", "mkdirat", "rename", "renameat2", "linkat")
_OPENS = ("open", "openat")
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
    return {
        call.paths[-1]
        for call in calls
        if call.name in (*_MAKES, *_OPENS)
        and call.result >= 0
        and not call.paths[-1].startswith(_SYSTEM)
    }


def write_questions(folder: Path) -> None:
    """Write an image that the index lacks, a list with it, and a labelled list."""
    tiles = folder / "tiles"
    with (tiles / "labels.csv").open(newline="") as file:
        labels = {row["path"]: row["label"] for row in csv.DictReader(file)}
    first = next(iter(labels))
    unseen = (tiles / first).read_bytes() + b"more"
    (folder / "unseen.png").write_bytes(unseen)
    (folder / "pairs.csv").write_text(f"{first},unseen.png\nunseen.png,{first}\n")
    pairs = itertools.combinations(labels, 2)
    labelled = "".join(f"{a},{b},{int(labels[a] == labels[b])}\n" for a, b in pairs)
    (folder / "labelled.csv").write_text(labelled)


def write_font_settings(home: Path) -> Path:
    """Write settings of fontconfig with no fonts, and with a list to make, on any machine."""
    (home / "fonts").mkdir()
    settings = home / "fonts.conf"
    settings.write_text(
        f"<fontconfig><dir>{home}/fonts</dir>"
        f"<cachedir>{home}/.cache/fontconfig</cachedir></fontconfig>"
    )
    return settings


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A command that ran traced, in its own folder."""

    status: int
    stderr: str
    calls: list[Call]


class Tracings:
    """Runs commands traced, with a home and a temporary folder that nothing else uses."""

    def __init__(self, top: Path, workshop: Path) -> None:
        self._top, self._workshop = top, workshop
        self.home, self.temporary = top / "home", top / "tmp"
        self.temporary.mkdir()
        for cache in (".cache", ".config"):
            (self.home / cache).mkdir(parents=True)
        # Not as in CI, where some libraries keep quiet by themselves.
        self._env = {
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "CI": "",
            "XDG_CACHE_HOME": "",
            "XDG_CONFIG_HOME": "",
            # As by default. A process that imported torchvision hands its own folder on.
            "TORCHINDUCTOR_CACHE_DIR": str(self.temporary / "torchinductor"),
            "FONTCONFIG_FILE": str(write_font_settings(self.home)),
        }

    def run_cold(self) -> dict[str, Traced]:
        """Run each command as a user does."""
        found = {}
        for command, arguments in COMMANDS.items():
            folder = self._make_folder(command)
            done, calls = self._trace(["-m", "histo_index", *arguments], cwd=folder)
            found[command] = Traced(status=done.returncode, stderr=done.stderr, calls=calls)
        return found

    def run_warm(self) -> dict[str, Traced]:
        """Run the commands in forks of a process that imported the libraries, traced too."""
        jobs = [
            job_line(["-m", "histo_index", *arguments], self._make_folder(command))
            for command, arguments in COMMANDS.items()
        ]
        done, calls = self._trace(["-m", "tests.warm"], input="".join(jobs), cwd=ROOT, timeout=900)
        statuses = [int(line) for line in done.stdout.splitlines()]
        assert len(statuses) == len(COMMANDS), done.stderr
        # A forked process begins by opening the file for what it prints.
        opened = [call.paths[-1] if call.paths else "" for call in calls]
        starts = [opened.index(str(self._top / command / OUT)) for command in COMMANDS]
        assert talks(calls[: starts[0]]) == []
        # `import torchvision` makes this folder, empty.
        assert made(calls[: starts[0]]) <= {str(self.temporary / "torchinductor")}
        found = {}
        parts = zip(COMMANDS, statuses, starts, [*starts[1:], len(calls)], strict=True)
        for command, status, start, end in parts:
            stderr = (self._top / command / ERR).read_text(encoding="utf-8")
            found[command] = Traced(status=status, stderr=stderr, calls=calls[start:end])
        return found

    def allowed(self, command: str) -> tuple[str, ...]:
        """Name what a command may write to: files, and folders with all that is in them."""
        names = [*WRITTEN.get(command, []), OUT, ERR]
        homes = FONTS if command in DRAW else []
        paths = [self.temporary, *(self._top / command / name for name in names)]
        return tuple(str(path) for path in (*paths, *(self.home / name for name in homes)))

    def _make_folder(self, command: str) -> Path:
        folder = self._top / command
        shutil.copytree(self._workshop, folder)
        write_questions(folder)
        return folder

    def _trace(
        self, arguments: list[str], **options: Any
    ) -> tuple[subprocess.CompletedProcess[str], list[Call]]:
        command = [sys.executable, "-B", *arguments]
        log = self._top / "trace"
        opens = [f"{name}:w" for name in _OPENS]
        return trace(command, log, *_SOCKETS, *_MAKES, *opens, env=self._env, **options)


@pytest.fixture(scope="module")
def tracings(finished_workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Tracings:
    return Tracings(tmp_path_factory.mktemp("traced"), finished_workshop.folder)


@pytest.fixture(scope="module")
def traced(tracings: Tracings, request: pytest.FixtureRequest) -> dict[str, Traced]:
    return tracings.run_cold() if is_long(request.config) else tracings.run_warm()


@pytest.mark.parametrize("command", COMMANDS)
def test_command_opens_no_socket_and_writes_only_to_its_output(
    tracings: Tracings, traced: dict[str, Traced], command: str, tell: Tell
) -> None:
    ran = traced[command]
    assert ran.status == 0 or (command, ran.status) == ("doctor", 1), ran.stderr
    assert talks(ran.calls) == []
    # A file is written under a temporary name beside its final one.
    written = {re.sub(r"\.tmp-[0-9a-f]+-", "", path) for path in made(ran.calls)}
    assert {path for path in written if not path.startswith(tracings.allowed(command))} == set()
    # To import torchvision makes an empty folder there.
    assert [path for path in tracings.temporary.rglob("*") if path.is_file()] == []
    tell(
        f"{command}: {len(ran.calls)} files made and socket calls",
        "0 to a network, 0 files elsewhere",
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
