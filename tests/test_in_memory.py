"""Temporary folders in memory are deleted however the run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.in_memory import PREFIX, choose_parent, delete_leftovers

WRITE = "import os, pathlib; pathlib.Path(os.environ['TMPDIR'], 'a').write_text('a');"
SCRIPT = Path(__file__).with_name("in_memory.py")
# Runs the command given, in the folder given.
RUN_IN = (
    "import pathlib, runpy, sys;"
    f"run = runpy.run_path({str(SCRIPT)!r})['run_with_temporary'];"
    "sys.exit(run(sys.argv[2:], pathlib.Path(sys.argv[1])))"
)


def run_in(folder: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN_IN, str(folder), sys.executable, "-c", WRITE + code],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_exit_code_is_passed_on_and_files_are_deleted_after_a_failure(tmp_path: Path) -> None:
    run = run_in(tmp_path, "print(os.environ['TMPDIR']); raise SystemExit(3)")
    assert run.communicate()[0].startswith(str(tmp_path / PREFIX))
    assert run.returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_files_are_deleted_after_a_termination(tmp_path: Path) -> None:
    waiting = "\ntry: import time; print('ready', flush=True); time.sleep(60)\n"
    run = run_in(tmp_path, waiting + "except KeyboardInterrupt: raise SystemExit(5)")
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGTERM)
    run.communicate()
    assert run.returncode == 5
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_deleted_and_those_of_others_stay(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    gone = tmp_path / f"{PREFIX}{run.stdout.strip()}-x"
    alive, other = tmp_path / f"{PREFIX}{os.getpid()}-x", tmp_path / "other"
    for folder in (gone, alive, other):
        folder.mkdir()
    delete_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])


def test_a_folder_that_is_missing_or_full_is_not_chosen(tmp_path: Path) -> None:
    assert choose_parent(tmp_path, 1) == tmp_path
    assert choose_parent(tmp_path / "gone", 1) is None
    assert choose_parent(tmp_path, 1 << 62) is None
