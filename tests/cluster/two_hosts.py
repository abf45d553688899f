"""Two network namespaces as two machines, with a Ray cluster over both. Needs root and `ip`."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).parents[2]
HOSTS: Final = {"hxa": "10.77.0.1", "hxb": "10.77.0.2"}
# Ray's sockets need a short path.
_RAY: Final = "/tmp/hx-two-hosts"
ADDRESS: Final = "10.77.0.1:6379"


def can_run() -> bool:
    """Return whether namespaces can be made here."""
    if os.geteuid() != 0:
        return False
    try:
        made = subprocess.run(["ip", "netns", "add", "hxtry"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", "hxtry"], check=False, capture_output=True)
    except OSError:
        return False
    return made.returncode == 0


class TwoHosts:
    """A cluster with its head on `hxa` and a worker on `hxb`, one core each.

    Attributes:
        is_pair: whether `hxb` takes part from the start.
        cores: the core of this machine that a host runs on; none is any.
    """

    def __init__(
        self, folder: Path, *, is_pair: bool = True, cores: Mapping[str, int] | None = None
    ) -> None:
        self._folder = folder
        self.is_pair = is_pair
        self.cores = cores or {}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        # This process may be connected to another cluster.
        usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self._environment: Mapping[str, str] = {**usual, **token, **quiet}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        for host in HOSTS:
            _ip("netns", "add", host)
        _ip("link", "add", "hxva", "netns", "hxa", "type", "veth", "peer", "hxvb", "netns", "hxb")
        for host, end in (("hxa", "hxva"), ("hxb", "hxvb")):
            _ip("-n", host, "addr", "add", f"{HOSTS[host]}/24", "dev", end)
            for link in (end, "lo"):
                _ip("-n", host, "link", "set", link, "up")
        self.start_head()
        if self.is_pair:
            self.start_worker()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in HOSTS:
            self.kill_host(host)
            _ip("netns", "del", host)
        shutil.rmtree(_RAY, ignore_errors=True)

    def start_head(self) -> None:
        self._ray("hxa", "--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={_RAY}")

    def start_worker(self, **environment: str) -> None:
        self._ray("hxb", f"--address={ADDRESS}", **environment)

    def kill_host(self, host: str) -> None:
        """End every process of a host at once, as a power cut does."""
        for pid in self.processes(host):
            _kill(pid)

    def kill_actor(self, host: str) -> None:
        """End the actor of a host."""
        for pid in self.processes(host):
            if "ShardWorker" in _command(pid):
                _kill(pid)

    def cut_link(self, *, is_up: bool) -> None:
        _ip("-n", "hxb", "link", "set", "hxvb", "up" if is_up else "down")

    def processes(self, host: str) -> list[int]:
        found = subprocess.run(
            ["ip", "netns", "pids", host], check=True, capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split()]

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start Python on the head's host."""
        command = [*self._enter("hxa"), sys.executable, *words]
        with open(self._folder / "driver.log", "ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def _enter(self, host: str) -> list[str]:
        core = self.cores.get(host)
        pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
        return ["ip", "netns", "exec", host, *pin]

    def _ray(self, host: str, *words: str, **environment: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        subprocess.run(
            [
                *self._enter(host), str(ray), "start", *words, "--num-cpus=1",
                f"--node-ip-address={HOSTS[host]}", "--object-store-memory=200000000",
                "--disable-usage-stats",
            ],
            check=True, env={**self._environment, **environment}, capture_output=True, timeout=300,
        )  # fmt: skip


def finished(index: Path) -> int:
    """Count the shards with a receipt."""
    return len(list((index / "embeddings").glob("*.json")))


def wait_for(index: Path, count: int, limit_s: float = 240.0) -> None:
    """Wait until so many shards are finished."""
    deadline = time.monotonic() + limit_s
    while finished(index) < count:
        assert time.monotonic() < deadline, f"{finished(index)} of {count} shards"
        time.sleep(0.1)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def ask(path: Path) -> None:
    """Search in two parts until an answer was refused and answers are whole again."""
    import histo_index

    index = histo_index.open(path)
    queries, refused, lost_s = list(index)[:5], 0, 0.0
    with histo_index.sharded_search(index, parts=2, address=ADDRESS):
        whole = [list(found) for found in index.search(queries, k=9)]
        print("ready", flush=True)
        while True:
            try:
                found = [list(found) for found in index.search(queries, k=9)]
            except histo_index.PartialAnswerError:
                refused, lost_s = refused + 1, lost_s or time.monotonic()
                time.sleep(0.2)
                continue
            assert found == whole
            if refused:
                print(f"refused {refused}, whole after {time.monotonic() - lost_s:.0f} s")
                return


def main() -> None:
    """Build as the driver of a test: tiles, index, encoder folder, and maybe `strict`.

    With `ask` and an index: search it.
    """
    if sys.argv[1] == "ask":
        ask(Path(sys.argv[2]))
        return
    from histo_index.cluster.building.ray_runner import RayRunner
    from tests.cluster.sources import FakeSource
    from tests.indexer.fakes import FakeEncoder, run_build

    tiles, index, encoder = (Path(word) for word in sys.argv[1:4])
    source = FakeSource(folder=encoder, delay_s=0.1)
    is_strict = "strict" in sys.argv[4:]
    runner = RayRunner(make_encode=source, workers=2, address=ADDRESS, is_strict=is_strict)
    report = run_build(index, FakeEncoder(folder=encoder), tiles, runner=runner)
    print(report)


if __name__ == "__main__":
    main()
