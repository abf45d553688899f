"""A build by several processes writes what one process writes, whatever happens to them."""

from pathlib import Path

import pytest

from histo_index.api.cluster.engine import Engine, choose_engine
from histo_index.cluster.building.processes import ProcessCrew, ProcessRunner
from histo_index.cluster.building.worker import ShardWorker
from histo_index.errors import InputError
from histo_index.hardware import cpu_kind, name_gpus
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.runner import Place, Runner
from tests.cluster.sources import FakeSource
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    indexed_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

NAMES = numbered(40)


def shard_bytes(index: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (index / "embeddings").glob("*.parquet")}


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return write_tiles(tmp_path / "tiles", NAMES)


def processes(source: FakeSource, *, workers: int = 1) -> Runner:
    return ProcessRunner(make_encode=source, workers=workers)


def built_by_one(tiles: Path, tmp_path: Path) -> Path:
    run_build(tmp_path / "one.hx", FakeEncoder(folder=tmp_path / "encoder"), tiles)
    return tmp_path / "one.hx"


def test_shards_are_those_of_one_process(tiles: Path, tmp_path: Path) -> None:
    one = built_by_one(tiles, tmp_path)
    source = FakeSource(folder=tmp_path / "encoder", log=tmp_path / "log")
    encoder = FakeEncoder(folder=tmp_path / "encoder")
    run_build(tmp_path / "many.hx", encoder, tiles, runner=processes(source, workers=2))
    assert encoder.encoded == []
    assert shard_bytes(tmp_path / "many.hx") == shard_bytes(one)
    assert len(shard_bytes(one)) == 5
    assert len((tmp_path / "log").read_text().splitlines()) == 40
    runtime = read_manifest(tmp_path / "many.hx").shards[0].runtime
    assert set(runtime) == {"name", "device", "precision", "cpu"}


def test_a_killed_process_loses_and_doubles_nothing(
    tiles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeSource(
        folder=tmp_path / "encoder", deadly="t0020.png", survived=tmp_path / "struck"
    )
    report = run_build(
        tmp_path / "many.hx", FakeEncoder(folder=tmp_path / "encoder"), tiles,
        runner=processes(source),
    )  # fmt: skip
    assert "a worker was lost (process ended with status -9); its work is done again" in caplog.text
    assert report.encoded == 40
    assert shard_bytes(tmp_path / "many.hx") == shard_bytes(built_by_one(tiles, tmp_path))
    require_sound(tmp_path / "many.hx", expected_rows(tiles, NAMES))


def test_embeddings_that_are_there_are_copied(tiles: Path, tmp_path: Path) -> None:
    index, encoder = built_by_one(tiles, tmp_path), FakeEncoder(folder=tmp_path / "encoder")
    (tiles / NAMES[3]).rename(tiles / "renamed.png")
    (tiles / "new.png").write_bytes(b"new content")
    source = FakeSource(folder=tmp_path / "encoder", log=tmp_path / "log")
    report = run_build(index, encoder, tiles, runner=processes(source))
    assert (report.encoded, report.tiles) == (1, 41)
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    names = [*NAMES[:3], *NAMES[4:], "renamed.png", "new.png"]
    assert indexed_rows(OpenIndex(index)) == expected_rows(tiles, names)


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (0, None, ()),
        (3, None, ("0", "1", "2")),
        (2, "", ("0", "1")),
        (2, "5, 3", ("5", "3")),
        (1, "GPU-8f, -1, 2", ("GPU-8f",)),  # CUDA sees what stands before the first wrong name
    ],
)
def test_gpus_are_named_as_the_process_sees_them(
    count: int, visible: str | None, expected: tuple[str, ...]
) -> None:
    assert name_gpus(count, visible) == expected


def test_each_process_sees_one_gpu_and_so_does_its_replacement(tmp_path: Path) -> None:
    source = FakeSource(folder=tmp_path / "encoder", reports="CUDA_VISIBLE_DEVICES")
    runner = ProcessRunner(make_encode=source, workers=2, gpus=("5", "3"))
    crew = ProcessCrew(runner, count=2)
    try:
        seen: dict[object, str] = {}
        while len(seen) < 2:
            seen |= {one.worker: one.runtime["name"] for one in crew.wait() if one.runtime}
        assert sorted(seen.values()) == ["3", "5"]
        lost = next(worker for worker, name in seen.items() if name == "3")
        crew.processes[lost].kill()  # type: ignore[index]
        assert [event.worker for event in crew.wait()] == [lost]
        assert [event.runtime and event.runtime["name"] for event in crew.wait()] == ["3"]
    finally:
        crew.close()


def test_a_process_with_fewer_instructions_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two is limited to AVX2; `test_crew` has what a build makes of it."""
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"):
        monkeypatch.delenv(name, raising=False)
    runner = ProcessRunner(
        make_encode=FakeSource(folder=tmp_path / "encoder", limited=tmp_path / "limited"), workers=2
    )
    kinds: list[str] = []
    crew = ProcessCrew(runner, count=2)
    try:
        while len(kinds) < 2:
            kinds += [event.runtime["cpu"] for event in crew.wait() if event.runtime]
    finally:
        crew.close()
    assert sorted(kinds) == [cpu_kind(), f"{cpu_kind()} ATEN_CPU_CAPABILITY=avx2"]


def test_a_machine_that_does_not_see_the_tiles_rejects_none(tiles: Path, tmp_path: Path) -> None:
    worker = ShardWorker(FakeSource(folder=tmp_path / "encoder"), cores=1)
    worker.start()
    (tmp_path / "mount").mkdir()
    for root in (tmp_path / "mount", tmp_path / "nowhere"):
        place = Place(folder=tmp_path / "x.hx", root=root)
        with pytest.raises(InputError, match=f"{root}: not there, or empty, on machine"):
            worker.run([], place)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "spark"}, "--engine spark: expected processes or ray"),
        ({"name": "processes", "address": "h:1"}, "go with --engine ray, not with --engine proc"),
        ({"name": "processes", "gpus_per_worker": 0.0}, "go with --engine ray, not with"),
        ({"name": "ray", "workers": 0}, "expected 1 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engine(**options)  # type: ignore[arg-type]


def test_options_of_an_engine_need_one() -> None:
    assert choose_engine(None, None, None, None, strict=False) is None
    with pytest.raises(InputError, match="go with --engine"):
        choose_engine(None, None, 2, None, strict=False)
