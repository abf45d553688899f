"""Promise 19: losing a node, actor, driver, head or link loses and doubles nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from histo_index.indexer.format.manifest import read_manifest
from tests.cluster.two_hosts import TwoHosts, can_run, finished, wait_for
from tests.conftest import is_long
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)
from tests.promises.conftest import Tell

NAMES: Final = numbered(160)
SHARDS: Final = 20
_LIMIT_S: Final = 300.0

Fault = Callable[[TwoHosts], bool]


def lose_node(hosts: TwoHosts) -> bool:
    hosts.kill_host("hxb")
    return False


def lose_actor(hosts: TwoHosts) -> bool:
    hosts.kill_actor("hxb")
    return False


def lose_link(hosts: TwoHosts) -> bool:
    hosts.cut_link(is_up=False)
    return False


def lose_driver(hosts: TwoHosts) -> bool:
    return True


def lose_head(hosts: TwoHosts) -> bool:
    hosts.kill_host("hxa")
    hosts.kill_host("hxb")
    hosts.start_head()
    hosts.start_worker()
    return True


FAULTS: Final[dict[str, Fault]] = {
    "node": lose_node, "actor": lose_actor, "link": lose_link, "driver": lose_driver,
    "head": lose_head,
}  # fmt: skip


@pytest.fixture(autouse=True)
def two_hosts(request: pytest.FixtureRequest) -> None:
    if not is_long(request.config):
        pytest.skip("two hosts take minutes: make test-long")
    if not can_run():
        pytest.skip("needs root and network namespaces")


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_lost_part_of_a_cluster_loses_and_doubles_nothing(
    fault: str, tmp_path: Path, tell: Tell
) -> None:
    tiles = write_tiles(tmp_path / "tiles", NAMES)
    run_build(tmp_path / "one.hx", FakeEncoder(folder=tmp_path / "encoder"), tiles)
    index = tmp_path / "x.hx"
    words = ["-m", "tests.cluster.two_hosts", str(tiles), str(index), str(tmp_path / "encoder")]
    with TwoHosts(tmp_path) as hosts:
        driver = hosts.start(*words)
        wait_for(index, 5)
        started, before = time.monotonic(), finished(index)
        if fault == "driver":
            driver.kill()
        if FAULTS[fault](hosts):
            driver.wait(_LIMIT_S)
            assert not (index / "manifest.json").exists()
            driver = hosts.start(*words)
        assert driver.wait(_LIMIT_S) == 0, (tmp_path / "driver.log").read_text()[-2000:]
        took = time.monotonic() - started
    stored = {path.name: path.read_bytes() for path in (index / "embeddings").glob("*.parquet")}
    alone = {p.name: p.read_bytes() for p in (tmp_path / "one.hx/embeddings").glob("*.parquet")}
    assert stored == alone
    require_sound(index, expected_rows(tiles, NAMES))
    tell(f"{fault} lost after {before} of {SHARDS} shards", f"0 lost, 0 doubled, {took:.0f} s")


def test_a_node_that_computes_in_another_way_is_refused_or_labelled(
    tmp_path: Path, tell: Tell
) -> None:
    """One node may use the instructions of an older CPU only."""
    tiles, index = write_tiles(tmp_path / "tiles", NAMES), tmp_path / "x.hx"
    words = ["-m", "tests.cluster.two_hosts", str(tiles), str(index), str(tmp_path / "encoder")]
    with TwoHosts(tmp_path, is_pair=False) as hosts:
        hosts.start_worker(ATEN_CPU_CAPABILITY="avx2")
        assert hosts.start(*words, "strict").wait(_LIMIT_S) != 0
        refused = (tmp_path / "driver.log").read_text()
        assert hosts.start(*words).wait(_LIMIT_S) == 0, refused
    assert "MismatchError: workers compute in different ways: " in refused
    kinds = [shard.runtime["cpu"] for shard in read_manifest(index).shards]
    limited = sum("ATEN_CPU_CAPABILITY=avx2" in kind for kind in kinds)
    assert 0 < limited < SHARDS == len(kinds)
    tell("1 of 2 nodes with fewer instructions", f"refused; or {limited} of {SHARDS} labelled")
