"""Decoder processes: order, laziness, and a dead or hanging child that costs one tile."""

import gc
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from histo_index.encoder.decode import pool as decode_pool
from histo_index.encoder.decode.decoder_process import WORKER_CODE
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.pool import AHEAD, CHUNK, DecodePool, Prepared
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.decode.worker import (
    READY,
    DecodeSettings,
    PreparedTile,
    prepare,
    serve,
)
from histo_index.errors import HistoIndexError, ImageError
from histo_index.hardware import usable_cores
from histo_index.wording import printable
from tests.encoder.conftest import Children

SETTINGS = DecodeSettings(
    limits=DecodeLimits(max_pixels=10_000),
    preprocessing=Preprocessing(resize_px=32, crop_px=32),
)
# A child whose decoder obeys some file names; all others it decodes as ever.
OBEDIENT = """
import os, signal, sys, time
from pathlib import Path
from histo_index.encoder.decode import worker as decode_worker
honest = decode_worker.prepare
def obey(path, settings):
    if path.name == "die.png":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "raise.png":
        sys.stderr = open(os.devnull, "w")
        raise AssertionError("a fault of ours")
    if path.name == "hang.png":
        path.with_suffix(".reached").touch()
        time.sleep(3600)
    if path.name == "print.png":
        print("some words", flush=True)
        os.write(1, b"some bytes")
    return honest(path, settings)
decode_worker.prepare = obey
decode_worker.main()
"""


def decoder_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(children: Children) -> Iterator[None]:
    yield
    assert decoder_threads() == []
    gc.collect()  # an unclosed pipe would warn, which is an error


@pytest.fixture
def good(tmp_path: Path) -> list[Path]:
    """Forty small tiles, each of another grey."""
    paths = [tmp_path / f"{level:02d}.png" for level in range(40)]
    for level, path in enumerate(paths):
        Image.new("RGB", (40, 33), (level, level, level)).save(path)
    return paths


def grey(result: Prepared) -> int:
    assert isinstance(result, PreparedTile)
    assert result.pixels.shape == (32, 32, 3)
    assert (result.width, result.height) == (40, 33)
    assert (result.pixels == result.pixels[0, 0, 0]).all()
    return int(result.pixels[0, 0, 0])


def reason(result: Prepared, path: Path) -> str:
    assert isinstance(result, ImageError)
    assert len(str(result).splitlines()) == 1
    assert str(result).startswith(f"{printable(path)}: ")
    return str(result).removeprefix(f"{printable(path)}: ")


def same(left: Prepared, right: Prepared) -> bool:
    if isinstance(left, ImageError) or isinstance(right, ImageError):
        return str(left) == str(right)
    facts = [(tile.name, tile.sha256, tile.width, tile.height, tile.note) for tile in (left, right)]
    return facts[0] == facts[1] and np.array_equal(left.pixels, right.pixels)


def mixed(good: list[Path], folder: Path) -> list[Path]:
    """The good tiles with bad ones of every kind in between."""
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").touch()
    (folder / "half.png").write_bytes(good[0].read_bytes()[:60])
    Image.new("RGB", (101, 100)).save(folder / "large.png")
    bad = [folder / name for name in ("text.png", "none.png", "empty.png", "half.png", "large.png")]
    paths = list(good)
    for position, path in enumerate([*bad, folder]):
        paths.insert(7 * position, path)
    return paths


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_order_and_are_those_of_the_slow_way(
    good: list[Path], tmp_path: Path, workers: int
) -> None:
    paths = mixed(good, tmp_path)
    with DecodePool(SETTINGS, workers=workers) as pool:
        results = list(pool.prepare(paths))
    expected = [prepare(path, SETTINGS) for path in paths]
    assert len(results) == len(paths)
    assert all(same(left, right) for left, right in zip(results, expected, strict=True))
    assert sum(isinstance(result, ImageError) for result in results) == 6
    tiles = [result for result in results if isinstance(result, PreparedTile)]
    assert [grey(tile) for tile in tiles] == list(range(40))


def test_a_pool_can_be_used_again(good: list[Path]) -> None:
    with DecodePool(SETTINGS, workers=2) as pool:
        first = [grey(tile) for tile in pool.prepare(good)]
        again = [grey(tile) for tile in pool.prepare(reversed(good))]
    assert first == list(range(40))
    assert again == first[::-1]


def test_no_paths_start_no_process(children: Children) -> None:
    with DecodePool(SETTINGS, workers=2) as pool:
        assert list(pool.prepare([])) == []
        assert children() == []


def test_a_killed_child_costs_the_tile_it_was_at(good: list[Path], tmp_path: Path) -> None:
    paths = list(good)
    for position in (0, 5, 6, 7, 20, len(paths) + 5):
        paths.insert(position, tmp_path / "die.png")
    with DecodePool(SETTINGS, workers=2, worker_code=OBEDIENT) as pool:
        results = list(pool.prepare(paths))
    assert [grey(tile) for tile in results if isinstance(tile, PreparedTile)] == list(range(40))
    for path, result in zip(paths, results, strict=True):
        if path.name == "die.png":
            assert reason(result, path) == (
                "its decoder died (killed by signal 9); if memory was short, build again with "
                "--retry-rejected, else remove the tile"
            )


def test_a_child_killed_from_outside_costs_the_tile_it_was_at(
    good: list[Path], tmp_path: Path, children: Children
) -> None:
    paths = [*good[:3], tmp_path / "hang.png", *good[3:]]
    results: list[Prepared] = []
    with DecodePool(SETTINGS, workers=1, worker_code=OBEDIENT) as pool:
        taker = threading.Thread(target=lambda: results.extend(pool.prepare(paths)))
        taker.start()
        while not (tmp_path / "hang.reached").exists():
            time.sleep(0.01)
        (child,) = children()
        child.send_signal(signal.SIGKILL)
        taker.join()
    assert reason(results.pop(3), paths[3]).startswith("its decoder died (killed by signal 9); ")
    assert [grey(tile) for tile in results] == list(range(40))


def test_a_fault_of_ours_costs_the_tile_it_was_at(good: list[Path], tmp_path: Path) -> None:
    paths = [tmp_path / "raise.png", *good]
    with DecodePool(SETTINGS, workers=1, worker_code=OBEDIENT) as pool:
        first, *rest = pool.prepare(paths)
    assert reason(first, paths[0]).startswith("its decoder died (it ended with status 1); ")
    assert [grey(tile) for tile in rest] == list(range(40))


def test_a_hanging_child_is_killed_and_costs_the_tile_it_was_at(
    good: list[Path], tmp_path: Path
) -> None:
    paths = [*good[:2], tmp_path / "hang.png", *good[2:6]]
    with DecodePool(SETTINGS, workers=1, worker_code=OBEDIENT, chunk_timeout_s=3.0) as pool:
        results = list(pool.prepare(paths))
    assert reason(results.pop(2), paths[2]) == (
        "decoding took too long (over 3 s); remove the tile"
    )
    assert [grey(tile) for tile in results] == list(range(6))


def test_output_of_libraries_never_reaches_the_answers(good: list[Path], tmp_path: Path) -> None:
    shutil.copy(good[9], tmp_path / "print.png")
    with DecodePool(SETTINGS, workers=1, worker_code=OBEDIENT) as pool:
        results = list(pool.prepare([tmp_path / "print.png", good[1]]))
    assert [grey(tile) for tile in results] == [9, 1]


def test_ctrl_c_does_not_reach_the_children(good: list[Path], children: Children) -> None:
    with DecodePool(SETTINGS, workers=1) as pool:
        results = pool.prepare(good)
        first = grey(next(results))
        (child,) = children()
        child.send_signal(signal.SIGINT)
        rest = [grey(tile) for tile in results]
        assert children() == [child]
    assert [first, *rest] == list(range(40))


def test_a_child_that_cannot_start_is_an_error_and_not_the_tiles_fault(good: list[Path]) -> None:
    with (
        DecodePool(SETTINGS, workers=2, worker_code="raise SystemExit(3)") as pool,
        pytest.raises(HistoIndexError, match=r"a decoder process did not start \(status 3\)"),
    ):
        list(pool.prepare(good))


def test_a_child_killed_while_it_starts_is_started_again(good: list[Path], tmp_path: Path) -> None:
    counter = tmp_path / "starts"
    dying = f"""
import os, signal
with open({str(counter)!r}, "a") as file:
    file.write("x")
if os.path.getsize({str(counter)!r}) < 4:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with DecodePool(SETTINGS, workers=1, worker_code=dying + WORKER_CODE) as pool:
        assert [grey(tile) for tile in pool.prepare(good)] == list(range(40))
    assert counter.read_text() == "xxxx"
    with (
        DecodePool(SETTINGS, workers=1, worker_code="import os; os.kill(os.getpid(), 9)") as pool,
        pytest.raises(HistoIndexError, match=r"a decoder process did not start \(status -9\)"),
    ):
        list(pool.prepare(good))


def test_a_child_that_answers_something_else_is_an_error(good: list[Path]) -> None:
    for words in ("print('hello')", "import pickle, sys; pickle.dump(1, sys.stdout.buffer)"):
        with (
            DecodePool(SETTINGS, workers=1, worker_code=words) as pool,
            pytest.raises(HistoIndexError, match=r"a decoder process did not start"),
        ):
            list(pool.prepare(good))


class Counted:
    """Paths that know how many of them were taken."""

    def __init__(self, path: Path, count: int) -> None:
        self.taken = 0
        self._path, self._count = path, count

    def __iter__(self) -> Iterator[Path]:
        for _ in range(self._count):
            self.taken += 1
            yield self._path


def test_paths_are_taken_a_bounded_number_ahead(good: list[Path]) -> None:
    paths = Counted(good[3], 500)
    with DecodePool(SETTINGS, workers=2) as pool:
        results = pool.prepare(paths)
        assert paths.taken == 0
        for number, tile in enumerate(results, start=1):
            assert grey(tile) == 3
            assert paths.taken <= number + 2 * AHEAD * CHUNK
    assert paths.taken == number == 500


def test_closing_early_ends_the_children(good: list[Path], children: Children) -> None:
    pool = DecodePool(SETTINGS, workers=2)
    results = pool.prepare(good * 20)
    assert grey(next(results)) == 0
    assert children()
    pool.close()
    assert children() == []
    assert decoder_threads() == []


def test_closing_does_not_wait_for_a_hanging_child(
    good: list[Path], tmp_path: Path, children: Children
) -> None:
    pool = DecodePool(SETTINGS, workers=1, worker_code=OBEDIENT)
    results = pool.prepare([*good[:8], *[tmp_path / "hang.png"] * 17])
    assert grey(next(results)) == 0
    pool.close()  # for an hour, if it waited
    assert children() == []


def test_an_abandoned_generator_leaves_the_pool_usable(good: list[Path]) -> None:
    with DecodePool(SETTINGS, workers=2) as pool:
        half = pool.prepare(good * 5)
        for _ in range(11):
            next(half)
        half.close()  # type: ignore[attr-defined]
        assert [grey(tile) for tile in pool.prepare(good)] == list(range(40))


def test_an_error_of_the_path_source_comes_through(good: list[Path]) -> None:
    def failing() -> Iterator[Path]:
        yield from good
        raise LookupError("the source failed")

    with (
        DecodePool(SETTINGS, workers=2) as pool,
        pytest.raises(LookupError, match="the source failed"),
    ):
        list(pool.prepare(failing()))


ODD = ["new\nline.png", " spaces .png", "ü日本.png", "tab\t.png", "-rf.png", "a:b;c,(d).png"]


def test_odd_names_pass_through(tmp_path: Path) -> None:
    names = [*ODD, os.fsdecode(b"\xff\xfe.png")]
    present = [tmp_path / name for name in names]
    for level, path in enumerate(present):
        Image.new("RGB", (40, 33), (level, level, level)).save(path, "PNG")
    missing = [tmp_path / f"no {name}" for name in names]
    with DecodePool(SETTINGS, workers=2) as pool:
        results = list(pool.prepare(present + missing))
    assert [grey(tile) for tile in results[: len(names)]] == list(range(len(names)))
    for path, result in zip(missing, results[len(names) :], strict=True):
        assert reason(result, path) == "cannot be read (No such file or directory)"
        str(result).encode()  # would fail on a surrogate


def test_the_working_directory_takes_no_part(
    good: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pickle.py", "numpy.py", "PIL.py", "histo_index.py"):
        (tmp_path / name).write_text("raise RuntimeError('taken from the working directory')")
    monkeypatch.chdir(tmp_path)
    with DecodePool(SETTINGS, workers=1) as pool:
        assert [grey(tile) for tile in pool.prepare(good[:3])] == [0, 1, 2]


def test_children_run_the_package_that_their_parent_runs(good: list[Path], tmp_path: Path) -> None:
    # A second checkout beside the installed one, told apart by its first answer.
    copy = tmp_path / "checkout"
    shutil.copytree(Path(decode_pool.__file__).parents[2], copy / "histo_index")
    worker = copy / "histo_index/encoder/decode/worker.py"
    worker.write_text(worker.read_text().replace('READY: Final = "ready"', 'READY = "copy"'))
    script = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from histo_index.encoder.decode import worker as decode_worker
        from histo_index.encoder.decode.pool import DecodePool
        from histo_index.encoder.decode.worker import DecodeSettings
        from histo_index.encoder.decode.image_file import DecodeLimits
        from histo_index.encoder.decode.preprocessing import Preprocessing
        assert decode_worker.READY == "copy"
        settings = DecodeSettings(limits=DecodeLimits(), preprocessing=Preprocessing())
        with DecodePool(settings, workers=1) as pool:
            (tile,) = pool.prepare([Path(sys.argv[2])])
        print(tile.pixels[0, 0].tolist())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(copy), str(good[7])]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout == "[7, 7, 7]\n"


def test_children_end_when_their_parent_is_killed(good: list[Path]) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from histo_index.encoder.decode.pool import DecodePool
        from histo_index.encoder.decode.worker import DecodeSettings
        from histo_index.encoder.decode.image_file import DecodeLimits
        from histo_index.encoder.decode.preprocessing import Preprocessing
        settings = DecodeSettings(limits=DecodeLimits(), preprocessing=Preprocessing())
        pool = DecodePool(settings, workers=1)
        next(pool.prepare([Path(sys.argv[1])]))
        print("decoded", flush=True)
        time.sleep(3600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(good[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"decoded\n"
        (orphan,) = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs([orphan], timeout=120)
    assert alive == []


def test_a_closed_pool_starts_nothing(good: list[Path]) -> None:
    pool = DecodePool(SETTINGS, workers=1)
    pool.close()
    with pytest.raises(RuntimeError):
        list(pool.prepare(good))


def answers_to(requests: bytes) -> list[object]:
    answers = io.BytesIO()
    serve(io.BytesIO(requests), answers)
    answers.seek(0)
    found: list[object] = []
    while answers.tell() < len(answers.getvalue()):
        found.append(pickle.load(answers))
    return found


def test_the_worker_answers_each_path_and_ends_with_its_input(good: list[Path]) -> None:
    requests = [SETTINGS, good[:2], [], [good[2], good[0].with_name("none.png")]]
    ready, *answers = answers_to(b"".join(pickle.dumps(request) for request in requests))
    assert ready == READY
    assert [grey(tile) for tile in answers[:3]] == [0, 1, 2]  # type: ignore[arg-type]
    assert isinstance(answers[3], ImageError)


def test_prepared_tile_records_size_and_pages_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "turned.tif"
    exif = Image.Exif()
    exif[0x0112] = 6
    pages = [Image.new("RGB", (40, 20), "red"), Image.new("RGB", (40, 20))]
    pages[0].save(path, exif=exif, save_all=True, append_images=pages[1:])
    tile = prepare(path, SETTINGS)
    assert isinstance(tile, PreparedTile)
    assert (tile.width, tile.height) == (20, 40)
    assert tile.note == "first of several pages"
    assert tile.name == str(path)
    assert tile.pixels.tolist() == np.full((32, 32, 3), (255, 0, 0)).tolist()


def test_prepared_tile_notes_what_fitting_made_up(tmp_path: Path) -> None:
    Image.new("RGB", (300, 1)).save(tmp_path / "strip.png")
    tile = prepare(tmp_path / "strip.png", SETTINGS)
    assert isinstance(tile, PreparedTile)
    assert tile.note == "only the middle 1 of 300 px are encoded; enlarged from 1 to 32 px"


def test_usable_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


HEAVY = ("torch", "torchvision", "openvino", "pyarrow", "faiss", "sklearn")


def test_the_worker_loads_neither_network_nor_table_libraries() -> None:
    script = f"import sys; import {prepare.__module__}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "PIL.Image" in loaded
    assert loaded.isdisjoint(HEAVY)
