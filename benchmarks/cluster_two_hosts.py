"""Efficiency of two nodes against one: two network namespaces, one core of this machine each.

    python benchmarks/cluster_two_hosts.py --shards 150        # as root

Encoding is the fixed work of `cluster.py`. The time of a build of one shard a node is taken off: it
is that of the start. On a machine that others use too, the CPU seconds of the busiest node say
what the time would be on cores of one's own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster import SHARD_ROWS, Busy, time_build, write_tiles

from histo_index.cluster.building.ray_runner import RayRunner
from tests.cluster.two_hosts import ADDRESS, HOSTS, TwoHosts

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure one node and two, each in another cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=150)
    parser.add_argument("--inside", metavar="NODES", type=int, help="used by the benchmark itself")
    parser.add_argument("--folder", type=Path, help="used by the benchmark itself")
    options = parser.parse_args()
    if options.inside:
        measure_inside(options.folder, options.shards, options.inside)
        return
    for nodes in (1, 2):
        with tempfile.TemporaryDirectory() as name:
            measure_outside(Path(name), options.shards, nodes)


def measure_outside(folder: Path, shards: int, nodes: int) -> None:
    """Start a cluster, and the driver of the builds on its head."""
    with TwoHosts(folder, is_pair=nodes == 2, cores={"hxa": 0, "hxb": 1}) as hosts:
        words = ("--inside", str(nodes), "--shards", str(shards), "--folder", str(folder))
        driver = hosts.start(__file__, *words)
        driver.wait()
    print((folder / "driver.log").read_text().strip(), flush=True)


def measure_inside(folder: Path, shards: int, nodes: int) -> None:
    """Build one shard a node, then all, and print what the difference took."""
    encoder = Busy(folder=folder / "encoder", log=folder / "log")
    encoder.folder.mkdir()
    (encoder.folder / "config.json").write_text("{}")
    runner = RayRunner(make_encode=encoder, workers=nodes, address=ADDRESS)
    few = write_tiles(folder / "few", nodes * SHARD_ROWS)
    tiles = write_tiles(folder / "tiles", shards * SHARD_ROWS)
    start = time_build(few, folder, encoder, runner)
    (folder / "log").unlink()
    before = others(HOSTS)
    seconds = time_build(tiles, folder, encoder, runner) - start
    after = others(HOSTS)
    rest = {host: sum(after[host][pid] - used for pid, used in before[host].items()
                      if pid in after[host]) for host in HOSTS}  # fmt: skip
    count, workers = shards * SHARD_ROWS, encoding_seconds(folder / "log")
    rate = (count - nodes * SHARD_ROWS) / seconds
    # The worker with most to do shares its core with the busiest of the other processes.
    busiest = max(workers) + max(rest.values())
    print(
        f"{nodes} nodes: {rate:.1f} tiles/s in {seconds:.1f} s; CPU seconds: workers "
        f"{', '.join(f'{used:.1f}' for used in workers)}, the rest of each node "
        f"{', '.join(f'{used:.1f}' for used in rest.values())}; "
        f"{count / busiest:.1f} tiles per CPU second of the busiest node"
    )


def encoding_seconds(log: Path) -> list[float]:
    """Sum the CPU time of each worker from its first tile to its last."""
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    for line in log.read_text().splitlines():
        pid, first, last = line.split()
        begun.setdefault(pid, float(first))
        ended[pid] = float(last)
    return [ended[pid] - begun[pid] for pid in begun]


def others(hosts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Read the CPU seconds of each process that runs on each host."""
    return {host: dict(_read_processes(host)) for host in hosts}


def _read_processes(host: str) -> Iterator[tuple[str, float]]:
    found = subprocess.run(["ip", "netns", "pids", host], check=True, capture_output=True)
    for pid in found.stdout.decode().split():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            yield pid, sum(map(int, fields[11:13])) / _TICKS


if __name__ == "__main__":
    main()
