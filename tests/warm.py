"""Run Python programs in processes that do not import again what others imported.

A server imports the libraries once, and forks for each program. What a program imports late is
imported in its own process only. Programs run cold where there is no fork.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import subprocess
import sys
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn, Self

ROOT: Final = Path(__file__).parents[1]
# OpenVINO first: imported after torch, it brings torch's compiler.
_PRELOADED: Final = (
    "histo_index.encoder.runtime.openvino",
    "duckdb",
    "faiss",
    "histo_index.api.build",
    "histo_index.api.evaluate",
    "histo_index.api.train",
    "histo_index.commands.encoders",
    "histo_index.commands.evaluate",
    "histo_index.commands.index",
    "histo_index.commands.query",
    "pandas",
    "torchvision",
)

# In the folder of a program, what it prints.
OUT, ERR = "stdout.txt", "stderr.txt"


class Warm:
    """The server, from the side of the tests."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)

    def run(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a program as `python ARGUMENTS` would, `-m MODULE …` or `-c CODE`, in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(job_line(arguments, folder))
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err = ((folder / name).read_text(encoding="utf-8") for name in (OUT, ERR))
        for name in (OUT, ERR):
            (folder / name).unlink()
        return subprocess.CompletedProcess(list(arguments), status, out, err)


def job_line(arguments: Sequence[str], folder: Path) -> str:
    """Write what the server reads of a program."""
    return json.dumps({"arguments": list(arguments), "folder": str(folder)}) + "\n"


def main() -> None:
    """Fork for each line of standard input, and answer with the exit status."""
    preload()
    for line in sys.stdin:
        job = json.loads(line)
        print(fork_program(**job), flush=True)


def preload() -> None:
    """Import what programs need; nothing is computed, because threads do not survive a fork."""
    for name in _PRELOADED:
        __import__(name)
    # So that a collection in a forked process does not copy every page of the modules.
    gc.freeze()


def fork_program(arguments: Sequence[str], folder: str) -> int:
    """Run a program in a forked process and return its exit status."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        _become(arguments, folder)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _become(arguments: Sequence[str], folder: str) -> NoReturn:
    """Be the program: its folder, its output, and its end."""
    os.chdir(folder)
    for number, path in enumerate((os.devnull, OUT, ERR)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    _end(_run_to_status(*arguments))


def _run_to_status(*arguments: str) -> int:
    """Run a program and return the exit status that the interpreter would end with."""
    try:
        _run(*arguments)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """End as an interpreter does, but free no module: that takes half a second of CPU."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(kind: str, program: str, *arguments: str) -> None:
    if kind == "-m":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments]
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        exec(compile(program, "<string>", "exec"), module.__dict__)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
