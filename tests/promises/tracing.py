"""Watch, or make fail, the system calls of a program: a small strace that needs no strace.

A seccomp filter hands the calls that are asked for to this tracer, or makes them fail with an
error, without the program's help. Neither needs rights: it works for root and for anybody else, and
what the program starts is traced too. As a program:

    python -m tests.promises.tracing LOG fsync,openat - -- COMMAND…   # writes a JSON line per call
    python -m tests.promises.tracing - - fsync=5 -- COMMAND…          # fsync fails with errno 5

`openat:w` is openat for writing only: a program opens thousands of files to read them.
"""

import contextlib
import ctypes
import json
import os
import platform
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).parents[2]

# Linux keeps these numbers for ever. From its unistd.h: x86_64, then every newer architecture.
_NUMBERS: Final = {
    "write": (1, 64), "writev": (20, 66), "pwrite64": (18, 68), "sendfile": (40, 71),
    "open": (2, -1), "openat": (257, 56), "openat2": (437, 437), "creat": (85, -1),
    "truncate": (76, 45), "ftruncate": (77, 46),
    "fsync": (74, 82), "fdatasync": (75, 83), "link": (86, -1), "linkat": (265, 37),
    "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276), "unlink": (87, -1),
    "unlinkat": (263, 35), "mkdir": (83, -1), "mkdirat": (258, 34), "rmdir": (84, -1),
    "flock": (73, 32), "fcntl": (72, 25), "socket": (41, 198), "connect": (42, 203),
    "bind": (49, 200), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425),
}  # fmt: skip
_COLUMN: Final = 0 if platform.machine() == "x86_64" else 1
# Whose first argument is a descriptor, and which arguments are paths, relative to the one before.
_OF_DESCRIPTORS: Final = (
    "write", "writev", "pwrite64", "sendfile", "fsync", "fdatasync", "ftruncate", "flock",
    "fcntl", "connect", "bind", "sendto", "sendmsg", "sendmmsg",
)  # fmt: skip
_PATHS: Final = {
    "open": (0,), "creat": (0,), "truncate": (0,), "unlink": (0,), "mkdir": (0,), "rmdir": (0,),
    "link": (0, 1), "rename": (0, 1), "openat": (1,), "openat2": (1,), "unlinkat": (1,),
    "mkdirat": (1,), "linkat": (1, 3), "renameat": (1, 3), "renameat2": (1, 3),
}  # fmt: skip

# Which argument of a call has its flags, and the flags of opening for writing.
_FLAGS_AT: Final = {"open": 1, "openat": 2}
_FOR_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# From Linux's ptrace.h, prctl.h and seccomp.h.
_TRACEME, _CONT, _SYSCALL, _SETOPTIONS, _CALL_INFO = 0, 7, 24, 0x4200, 0x420E
# Tell calls from signals; follow fork, vfork, clone, exec; stop for seccomp; end with the tracer.
_OPTIONS: Final = 1 | 2 | 4 | 8 | 16 | 128 | 0x100000
_SECCOMP_EVENT: Final = 7
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SECCOMP_FILTER = 38, 22, 2
_ALLOW, _TRACE, _ERRNO = 0x7FFF0000, 0x7FF00000, 0x00050000

# A program that hangs is a failure, and not for ever; none takes a tenth of it on an idle machine.
_PATIENCE_S: Final = 300

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call that was made.

    Attributes:
        process: the thread that made it.
        name: as the manual calls it.
        arguments: six numbers.
        paths: what its descriptor or its paths stand for, absolute.
        result: below 0 an error, negated.
    """

    process: int
    name: str
    arguments: list[int]
    paths: list[str]
    result: int


def trace(
    command: Sequence[str | Path], log: Path, *calls: str, **options: Any
) -> tuple[subprocess.CompletedProcess[str], list[Call]]:
    """Run a command and give what it did, and the calls it made in their order."""
    done = _run([str(log), ",".join(calls), "-"], command, **options)
    lines = log.read_text(encoding="utf-8").splitlines()
    return done, [Call(**json.loads(line)) for line in lines]


def run_failing(
    command: Sequence[str | Path], faults: Mapping[str, int], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in which system calls fail: name to errno."""
    listed = ",".join(f"{name}={number}" for name, number in faults.items())
    return _run(["-", "-", listed], command, **options)


def _run(
    arguments: list[str], command: Sequence[str | Path], **options: Any
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **options.pop("env", {})}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "tests.promises.tracing", *arguments, "--", *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **{"timeout": _PATIENCE_S, **options},
    )


def main() -> int:
    log, watched, failing = sys.argv[1:4]
    names = [name for name in watched.split(",") if name != "-"]
    faults = dict(entry.split("=") for entry in failing.split(",") if entry != "-")
    rules = dict.fromkeys(names, _TRACE)
    rules |= {name: _ERRNO | int(number) for name, number in faults.items()}
    program = _filter(rules)
    child = os.fork()
    if child == 0:
        _become(sys.argv[5:], program, is_traced=bool(names))
    if not names:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(log, "w", encoding="utf-8") as file:
        return _follow(child, file)


def _filter(rules: Mapping[str, int]) -> bytes:
    """Write the filter: load the call's number, and for each rule compare and return."""
    code = [_instruction(0x20, 0)]
    for rule, action in rules.items():
        name, _, is_limited = rule.partition(":")
        number = _NUMBERS[name][_COLUMN]
        then = [_instruction(6, action)]
        if is_limited:
            # Load the lower half of the flags; without one of these let the call pass.
            flags = _instruction(0x20, 16 + 8 * _FLAGS_AT[name])
            passes = _instruction(6, _ALLOW)
            then = [flags, _instruction(0x45, _FOR_WRITING, no=1), *then, passes]
        if number >= 0:
            code += [_instruction(0x15, number, no=len(then)), *then]
    return b"".join([*code, _instruction(6, _ALLOW)])


def _instruction(code: int, value: int, *, no: int = 0) -> bytes:
    """Write an instruction; a comparison that fails skips `no` others."""
    return struct.pack("=HBBI", code, 0, no, value)


def _become(command: list[str], program: bytes, *, is_traced: bool) -> None:
    if is_traced:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _require(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _require(_libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, header, 0, 0))
    os.execvp(command[0], command)


def _follow(child: int, file: IO[str]) -> int:
    """Let the threads run from call to call; gives the first one's exit status."""
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_CONT, child, 0)
    began: dict[int, dict[str, Any]] = {}
    status_of_first = 0
    while True:
        try:
            thread, status = os.waitpid(-1, 0x40000000)
        except ChildProcessError:
            return status_of_first
        if not os.WIFSTOPPED(status):
            began.pop(thread, None)
            if thread == child:
                status_of_first = os.waitstatus_to_exitcode(status)
            continue
        number, event = os.WSTOPSIG(status), status >> 16
        is_exit = number == signal.SIGTRAP | 0x80
        # Killed while it is looked at, a thread makes no call.
        with contextlib.suppress(ProcessLookupError):
            if event == _SECCOMP_EVENT:
                began[thread] = _describe(thread)
            elif is_exit and thread in began:
                (result,) = struct.unpack_from("=q", _call_info(thread), 24)
                file.write(json.dumps({**began.pop(thread), "result": result}) + "\n")
        # A new thread stops once before it runs; that stop is ours and not for it.
        is_ours = event or is_exit or number == signal.SIGSTOP
        _resume(_SYSCALL if thread in began else _CONT, thread, 0 if is_ours else number)


def _describe(thread: int) -> dict[str, Any]:
    number, *arguments = struct.unpack_from("=7Q", _call_info(thread), 24)
    names = [name for name, numbers in _NUMBERS.items() if numbers[_COLUMN] == number]
    paths = [_target(thread, arguments[0])] if names[0] in _OF_DESCRIPTORS else []
    for argument in _PATHS.get(names[0], ()):
        is_relative = names[0] in ("openat", "openat2", "unlinkat", "mkdirat") or argument in (1, 3)
        has_folder = is_relative and "at" in names[0]
        folder = struct.unpack("=i", struct.pack("=I", arguments[argument - 1] & 0xFFFFFFFF))[0]
        base = _target(thread, folder if has_folder else -100)
        paths.append(os.path.normpath(os.path.join(base, _text(thread, arguments[argument]))))
    return {"process": thread, "name": names[0], "arguments": arguments, "paths": paths}


def _target(thread: int, descriptor: int) -> str:
    """Say what a descriptor stands for; -100 is the working directory."""
    name = "cwd" if descriptor == -100 else f"fd/{descriptor}"
    try:
        return os.readlink(f"/proc/{thread}/{name}")
    except OSError:
        return f"no descriptor {descriptor}"


def _text(thread: int, address: int) -> str:
    found = b""
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        while b"\0" not in found and len(found) < 4096:
            # To the end of the page, because the next one may not be there.
            page = memory.read(4096 - (address + len(found)) % 4096)
            if not page:
                raise ProcessLookupError(f"thread {thread} was killed")
            found += page
    return os.fsdecode(found.split(b"\0", 1)[0])


def _call_info(thread: int) -> bytes:
    buffer = ctypes.create_string_buffer(88)
    _ptrace(_CALL_INFO, thread, ctypes.addressof(buffer), size=len(buffer))
    return buffer.raw


def _resume(how: int, thread: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # killed while it was stopped
        _ptrace(how, thread, number)


def _ptrace(request: int, thread: int, data: int, *, size: int = 0) -> None:
    _require(_libc.ptrace(request, thread, size, data))


def _require(answer: int) -> None:
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    sys.exit(main())
