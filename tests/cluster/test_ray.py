"""A build by Ray on this machine writes what one process writes; an open cluster is refused."""

import os
import signal
import socket
from pathlib import Path

import pytest

from histo_index.cluster.building.ray_runner import Needs, RayRunner, choose_needs
from histo_index.cluster.ray_session import (
    interrupts_later,
    ray_session,
    require_listening,
    require_safe,
)
from histo_index.errors import InputError
from tests.cluster.sources import FakeSource
from tests.indexer.fakes import FakeEncoder, numbered, run_build, write_tiles

NAMES = numbered(160)


def shard_bytes(index: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (index / "embeddings").glob("*.parquet")}


@pytest.mark.usefixtures("ray_is_untidy")
def test_twenty_shards_are_those_of_one_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = write_tiles(tmp_path / "tiles", NAMES)
    encoder = FakeEncoder(folder=tmp_path / "encoder")
    run_build(tmp_path / "one.hx", encoder, tiles)
    # The first actor that sees this tile is killed.
    source = FakeSource(
        folder=tmp_path / "encoder", deadly="t0100.png", survived=tmp_path / "struck"
    )
    runner = RayRunner(make_encode=source, workers=2)
    report = run_build(tmp_path / "ray.hx", encoder, tiles, runner=runner)
    assert encoder.encoded == []
    assert report.encoded == 160
    assert "a worker was lost" in caplog.text
    assert shard_bytes(tmp_path / "ray.hx") == shard_bytes(tmp_path / "one.hx")
    assert len(shard_bytes(tmp_path / "one.hx")) == 20
    # The token of the cluster is gone with it.
    assert "RAY_AUTH_TOKEN" not in os.environ


def node(cores: float, gpus: float = 0, *, is_alive: bool = True) -> dict[str, object]:
    return {"Alive": is_alive, "Resources": {"CPU": cores, "GPU": gpus} if gpus else {"CPU": cores}}


@pytest.mark.parametrize(
    ("nodes", "gpus", "expected"),
    [
        # No actor fits across two machines.
        ([node(3), node(3)], None, Needs(cores=2, gpus=0, fitting=2)),
        ([node(1), node(1)], None, Needs(cores=1, gpus=0, fitting=2)),
        ([node(8), node(8, is_alive=False)], None, Needs(cores=2, gpus=0, fitting=4)),
        ([node(16, 4), node(8)], None, Needs(cores=2, gpus=1, fitting=4)),
        ([node(16, 4), node(8)], 0, Needs(cores=2, gpus=0, fitting=12)),
        ([node(16, 1)], 0.5, Needs(cores=2, gpus=0.5, fitting=2)),
    ],
)
def test_actors_fit_on_single_machines(
    nodes: list[dict[str, object]], gpus: float | None, expected: Needs
) -> None:
    assert choose_needs(nodes, cores=2, gpus=gpus) == expected


def test_gpus_that_no_machine_has_are_refused() -> None:
    with pytest.raises(InputError, match="no machine of the cluster has 2 cores and 2 GPUs; start"):
        choose_needs([node(8, 1), node(8, 1)], cores=2, gpus=2)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379", None])
def test_loopback_needs_no_token(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    require_safe(address)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "head.local:6379", "[fd00::1]:6379"])
def test_a_cluster_that_lets_anybody_in_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(InputError, match="runs the code of anybody who reaches it; start it with"):
        require_safe(address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    require_safe(address)


@pytest.mark.parametrize("address", ["10.0.0.1", ":6379", "host:port", "", "ray://127.0.0.1:10001"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(InputError, match="expected HOST:PORT, such as"):
        require_safe(address)


def test_an_address_where_nothing_answers_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"--address {address}: nothing answers there"):
            require_listening(address)


def test_an_unsafe_address_is_refused_before_ray_is_loaded() -> None:
    with pytest.raises(InputError, match="runs the code of anybody"), ray_session("10.0.0.1:1"):
        raise AssertionError


def test_ctrl_c_waits_for_the_start_of_ray() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with interrupts_later():
            signal.raise_signal(signal.SIGINT)
            assert caught == []
        assert caught == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)
