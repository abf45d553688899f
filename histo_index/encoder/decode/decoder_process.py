"""One decoder process, started when first needed and again after it died."""

import contextlib
import math
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from histo_index.encoder.decode.worker import READY, Work
from histo_index.errors import HistoIndexError, ImageError
from histo_index.limits import STILL, STILL_STATUS
from histo_index.slides.reading.identity import file_part
from histo_index.wording import printable

# -P and -c: nothing in the working directory can replace a module, and classes are pickled under
# the name of their module. The child finds the package where the parent did.
WORKER_CODE: Final = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from histo_index.encoder.decode.worker import main; main()"
)
_PACKAGE_ROOT: Final = Path(__file__).parents[3]
# Attempts to start a child that is killed while it starts.
_STARTS: Final = 5
# A slide that ended so many children is refused.
MOST_DEATHS: Final = 3
# After the last answer of a child: time to write a traceback and exit.
_EXIT_TIMEOUT_S: Final = 5.0


class Deaths:
    """Counts the children that each slide ended, for all processes of a pool."""

    def __init__(
        self, forget_s: float = math.inf, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without any.

        Args:
            forget_s: seconds after the last death until a slide is tried again. A slide whose file
                was changed is tried at once.
            now: a clock in seconds.
        """
        self._forget_s = forget_s
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._last: dict[str, tuple[float, tuple[int, int] | None]] = {}

    def add(self, slide: str) -> None:
        """Count a child that a slide ended; the slide is called by its path."""
        with self._lock:
            self._forget(slide)
            self._counts[slide] += 1
            self._last[slide] = self._now(), _state_of(slide)

    def is_refused(self, slide: str) -> bool:
        """Return whether a slide ended too many children to be tried."""
        with self._lock:
            self._forget(slide)
            return self._counts[slide] >= MOST_DEATHS

    def _forget(self, slide: str) -> None:
        if slide in self._last:
            died_s, state = self._last[slide]
            if self._now() - died_s >= self._forget_s or state != _state_of(slide):
                del self._counts[slide], self._last[slide]


def _state_of(slide: str) -> tuple[int, int] | None:
    """Return size and time of change of a file; None if it cannot be reached."""
    with contextlib.suppress(OSError, ValueError):
        found = Path(slide).stat()
        return found.st_size, found.st_mtime_ns
    return None


class DecoderProcess:
    """One child process, started when first needed and again after it died.

    One thread at a time asks it; `stop` may be called from another.
    """

    def __init__(
        self, work: Work[Any, Any], code: str, chunk_timeout_s: float, deaths: Deaths
    ) -> None:
        self._work = work
        self._deaths = deaths  # of the whole pool
        self._code = code
        self._chunk_timeout_s = chunk_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # guards process and flags against `stop`
        self._is_stopped = False
        self._is_overdue = False

    def prepare(self, requests: list[Any]) -> list[Any]:
        results: list[Any] = []
        while len(results) < len(requests):
            rest = requests[len(results) :]
            if (refused := self._refuse(rest[0])) is not None:
                results.append(refused)
                continue
            answered = self._ask(rest)
            results += answered
            if len(answered) < len(rest):
                name = str(rest[len(answered)])
                results.append(ImageError(f"{printable(name)}: {self._exit_reason()}"))
                self._deaths.add(file_part(name))
        return results

    def _refuse(self, request: Any) -> ImageError | None:
        """Refuse a tile of a slide that ended several children; None if it may be tried."""
        name = str(request)
        slide = file_part(name)
        if slide == name or not self._deaths.is_refused(slide):
            return None
        return ImageError(
            f"{printable(name)}: its slide ended {MOST_DEATHS} decoders; remove the slide"
        )

    def stop(self) -> None:
        """Kill the child and start no other."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def wait(self) -> int:
        """Wait until the child, if any, has exited; return its status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # what it never read is lost
                pipe.close()
        try:
            return process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _ask(self, requests: list[Any]) -> list[Any]:
        """Send requests and read answers until all have arrived or the process has exited."""
        to_child, replies = self._pipes()
        watchdog = threading.Timer(self._chunk_timeout_s, self._expire)
        watchdog.start()
        answers: list[Any] = []
        try:
            _send(requests, to_child)
            while len(answers) < len(requests):
                answers.append(pickle.load(replies))
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            pass  # the caller sees fewer answers than requests
        finally:
            watchdog.cancel()
        return answers

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the pipes of a running child: requests, replies."""
        if self._process is not None and self._process.poll() is not None:
            self.wait()
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdin, process.stdout

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", self._code, str(_PACKAGE_ROOT)]
        for _ in range(_STARTS):
            process = self._launch(command)
            if self._is_ready(process):
                return process
            status = self.wait()
            # Killed from outside, perhaps for lack of memory: try again.
            if status >= 0 or self._is_stopped:
                break
        # Not an ImageError, because every tile would be rejected.
        raise HistoIndexError(
            f"a decoder process did not start (status {status}): {' '.join(command[:3])}; "
            "what it wrote stands above"
        )

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_stopped:
                raise RuntimeError("the decode pool is closed")
            self._is_overdue = False
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return self._process

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Send a new child its settings and wait for its answer."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(self._work, process.stdin)
            return bool(pickle.load(process.stdout) == READY)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            return False

    def _expire(self) -> None:
        with self._lock:
            self._is_overdue = True
            if self._process is not None:
                self._process.kill()

    def _exit_reason(self) -> str:
        status = self.wait()
        if self._is_overdue:
            return f"decoding took too long (over {self._chunk_timeout_s:g} s); remove the tile"
        if status == STILL_STATUS:
            return STILL
        how = f"killed by signal {-status}" if status < 0 else f"it ended with status {status}"
        return (
            f"its decoder died ({how}); if memory was short, build again with --retry-rejected, "
            "else remove the tile"
        )


def _send(message: object, pipe: IO[bytes]) -> None:
    pickle.dump(message, pipe)
    pipe.flush()
