"""Promise 7: a closed folder, an I/O error, too many files: one line, an exit code, no traceback.

Each case runs the command line as a user does. Errors of the system are made by a seccomp filter,
limits by the shell; where root runs the tests, the command lacks root's right to pass any door.
"""

import errno
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    files_of,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)
from tests.promises.child import ROOT
from tests.promises.conftest import Tell
from tests.promises.tracing import run_failing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits and filters")

# What a few libraries hold open when an index is opened; the interpreter starts with less.
_FEW_FILES = 6
# Takes the rights to pass over permissions from the program it becomes; to others they are strange.
_OBEY = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Path]:
    """An index of tiles beside it; what was closed is opened again afterwards."""
    tiles = write_tiles(tmp_path / "tiles", numbered(20))
    index = tmp_path / "tiles.hx"
    run_build(index, FakeEncoder(folder=tmp_path / "fake-encoder"), tiles)
    yield index
    for path in (index, *index.rglob("*")):
        path.chmod(0o755)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "histo_index", *map(str, arguments)]


def obeying(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line without root's right to ignore permissions."""
    line = [sys.executable, "-c", _OBEY, *command(*arguments)[1:]]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def limited(limit: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = f"ulimit {limit}; exec {shlex.join(command(*arguments))}"
    return subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)


def require_one_line(done: subprocess.CompletedProcess[str], *parts: object) -> None:
    """Check that a command says in one line what is wrong and where, and exits with 1."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("histo-index: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert str(part) in done.stderr
    assert re.search(r"\.tmp-|Traceback|errno", done.stderr, re.IGNORECASE) is None


def close_folder(index: Path) -> None:
    (index / "lock").chmod(0o444)
    for path in (index, *(path for path in index.rglob("*") if path.is_dir())):
        path.chmod(0o555)


def closed(index: Path) -> None:
    close_folder(index)
    require_one_line(obeying("reindex", "-i", index), f"{index}/lock: Permission denied")


def closed_inside(index: Path) -> None:
    (index / "search").chmod(0o555)
    require_one_line(obeying("reindex", "-i", index), f"{index}/search/000002: Permission denied")


def unreadable_manifest(index: Path) -> None:
    (index / "manifest.json").chmod(0)
    done = obeying("search", "t0001.png", "-i", index)
    (index / "manifest.json").chmod(0o644)
    require_one_line(done, f"{index}/manifest.json: cannot be read (Permission denied)")


def failing_manifest(index: Path) -> None:
    # The one file of any Linux whose reading is an I/O error.
    (index / "manifest.json").rename(index.parent / "aside")
    (index / "manifest.json").symlink_to("/proc/self/mem")
    done = obeying("search", "t0001.png", "-i", index)
    (index / "manifest.json").unlink()
    (index.parent / "aside").rename(index / "manifest.json")
    require_one_line(done, f"{index}/manifest.json: cannot be read (Input/output error)")


def failing_flush(index: Path) -> None:
    done = run_failing(command("reindex", "-i", index), {"fsync": errno.EIO})
    require_one_line(done, f"{index}/search: Input/output error")


def failing_rename(index: Path) -> None:
    faults = dict.fromkeys(("rename", "renameat", "renameat2"), errno.EIO)
    done = run_failing(command("reindex", "-i", index), faults)
    require_one_line(done, f"{index}/search/000002/", ": Input/output error")


def file_too_large(index: Path) -> None:
    done = limited("-f 0", "reindex", "-i", index)
    require_one_line(done, f"{index}/lock: File too large")


def too_many_files_to_search(index: Path) -> None:
    done = limited(f"-n {_FEW_FILES}", "search", "t0001.png", "-i", index)
    require_one_line(done, f"{index}/search/000001/", ": cannot be read (Too many open files)")


def too_many_files_to_write(index: Path) -> None:
    # Modules are loaded before: their files are not files of the index.
    program = (
        "import resource, sys; import pyarrow.parquet, histo_index.indexer.writing.commit; "
        "from histo_index.cli import main; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)),) * 2); main()"
    )
    line = [sys.executable, "-c", program, str(_FEW_FILES), "reindex", "-i", str(index)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    require_one_line(done, f"{index}/embeddings/", ": cannot be read (Too many open files)")


CASES: tuple[Callable[[Path], None], ...] = (
    closed,
    closed_inside,
    unreadable_manifest,
    failing_manifest,
    failing_flush,
    failing_rename,
    file_too_large,
    too_many_files_to_search,
    too_many_files_to_write,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_is_one_line_and_the_old_state_stands(
    index: Path, case: Callable[[Path], None], tell: Tell
) -> None:
    before = files_of(index)
    case(index)
    require_sound(index, expected_rows(index.parent / "tiles", numbered(20)))
    assert {**files_of(index), "lock": b""} == {**before, "lock": b""}
    tell(case.__name__.replace("_", " "), "one line, exit 1, the old state stands")


def test_a_limit_of_ours_costs_no_tile(tiles: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; "
        "from histo_index.indexer.hashing.tiles import hash_tiles; "
        "from histo_index.indexer.inputs.tiles import list_tiles; "
        "tiles = list_tiles([Path(sys.argv[1])]); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); "
        "print(hash_tiles(tiles, lambda done: None))"
    )
    command = [sys.executable, "-c", program, str(tiles)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"OSError: [Errno 24] Too many open files: '{tiles}/t" in done.stderr


def test_a_closed_index_answers(index: Path) -> None:
    close_folder(index)
    for arguments in (["search", "t0001.png"], ["pair", "t0001.png", "t0002.png"], ["info"]):
        done = obeying(*arguments, "-i", index)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_a_folder_that_cannot_be_written_is_an_error_and_can_still_be_read(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    encoder = FakeEncoder(folder=open_folder / "fake-encoder")
    tiles = write_tiles(open_folder / "tiles", numbered(20))
    output = open_folder / "tiles.hx"
    run_build(output, encoder, tiles)
    before = files_of(output)
    for path in (output, *(path for path in output.rglob("*") if path.is_dir())):
        path.chmod(0o555)
    (output / "lock").chmod(0o444)
    drop_root()
    for write in (lambda: run_build(output, encoder, tiles), lambda: reindex(output)):
        with pytest.raises(PermissionError, match="lock"):
            write()
    with pytest.raises(PermissionError, match=r"new\.hx"):
        run_build(open_folder / "tiles" / "new.hx", encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(20)))
    assert files_of(output) == before


def test_a_part_of_an_index_that_cannot_be_written_leaves_the_old_state(
    open_folder: Path, drop_root: Callable[[], None]
) -> None:
    encoder = FakeEncoder(folder=open_folder / "fake-encoder")
    tiles = write_tiles(open_folder / "tiles", numbered(20))
    output = open_folder / "tiles.hx"
    run_build(output, encoder, tiles)
    old = expected_rows(tiles, numbered(20))
    write_tiles(tiles, ["z.png"])
    for path in (output, output / "lock", output / "search"):
        path.chmod(0o777)
    (output / "embeddings").chmod(0o555)
    drop_root()
    with pytest.raises(PermissionError, match="embeddings"):
        run_build(output, encoder, tiles)
    require_sound(output, old)
