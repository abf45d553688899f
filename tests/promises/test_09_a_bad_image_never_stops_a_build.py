"""A damaged image costs itself: no build ends, no decoder dies, no tile beside it is lost."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from tests.decoding import DecodingEncoder
from tests.hostile import damaged, formats
from tests.indexer.fakes import reasons, run_build
from tests.promises.conftest import Tell, Tries, processes_of

KINDS: Final = {"damaged image", "not an image", "too large", "values out of range"}
# A decoder with a small tile takes 50 MB; one with the large tile below, as RGB, 150 more.
_BYTES_OF_A_VICTIM: Final = 130 * 2**20
DEATH: Final = (
    "its decoder died (killed by signal 9); if memory was short, build again with "
    "--retry-rejected, else remove the tile"
)


@pytest.fixture
def decoding(tmp_path: Path) -> Iterator[DecodingEncoder]:
    with DecodingEncoder(folder=tmp_path / "encoder") as encoder:
        yield encoder


def test_damaged_images_are_indexed_or_rejected(
    tmp_path: Path, decoding: DecodingEncoder, tries: Tries, tell: Tell
) -> None:
    images, seen, rejected = tries(1_000, 50_000), 0, Counter[str]()
    dice = Random(9)
    while seen < images:
        tiles = tmp_path / "tiles"
        shutil.rmtree(tiles, ignore_errors=True)
        tiles.mkdir()
        for number in range(1_000):
            kind = dice.choice(sorted(formats()))
            (tiles / f"{number}.{kind}").write_bytes(damaged(formats()[kind], dice))
        for name, data in formats().items():
            (tiles / f"whole.{name}").write_bytes(data)
        index = tmp_path / f"{seen}.hx"
        report = run_build(index, decoding, tiles, shard_rows=512)
        found = reasons(index)
        assert report.tiles + len(found) == 1_000 + len(formats())
        assert not any(name.startswith("whole") for name in found)
        assert set(report.rejected) <= KINDS, found
        rejected.update(report.rejected)
        seen += 1_000
        shutil.rmtree(index)
    # As many as that notice it themselves; the others decode to wrong pixels, as damage may.
    assert rejected.total() > images // 10
    tell(
        f"{seen} damaged images of {len(formats())} formats",
        f"{rejected.total()} rejected, {seen - rejected.total()} decoded, no decoder died",
    )


def write_tiles(folder: Path, large: int) -> list[str]:
    """Forty small tiles and, between them, some large ones; gives the names of the large ones."""
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (40, 33), (number, number, number)).save(folder / f"{number:02d}.png")
    names = [f"{number * 7:02d} large.png" for number in range(large)]
    for number, name in enumerate(names):
        level = np.full((7_000, 8_000), number, np.uint8)
        Image.fromarray(level).save(folder / name, compress_level=1)
    return names


@contextmanager
def killer_of_large_processes() -> Iterator[Counter[int]]:
    """Do what a kernel short of memory does: SIGKILL each child of ours that is too large."""
    victims, done = Counter[int](), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            for child in processes_of("decode.worker"):
                try:
                    is_large = child.memory_info().rss > _BYTES_OF_A_VICTIM
                    if is_large and not victims[child.pid]:
                        child.kill()
                        victims[child.pid] += 1
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield victims
    finally:
        done.set()
        thread.join()


def test_a_decoder_killed_for_its_memory_costs_the_tile_it_was_at(
    tmp_path: Path, decoding: DecodingEncoder, tries: Tries, tell: Tell
) -> None:
    large = write_tiles(tmp_path / "tiles", tries(2, 6))
    with killer_of_large_processes() as victims:
        report = run_build(tmp_path / "t.hx", decoding, tmp_path / "tiles")
    assert report.tiles == 40
    assert reasons(tmp_path / "t.hx") == dict.fromkeys(large, DEATH)
    assert victims.total() == len(large)
    # It was the want of memory and not the tile: with more of it a build that tries again takes it.
    again = run_build(tmp_path / "t.hx", decoding, tmp_path / "tiles", retry_rejected=True)
    assert (again.tiles, again.encoded) == (40 + len(large), len(large))
    tell(f"{len(large)} decoders killed for their memory", "one tile lost each, named")


def test_decoder_with_little_memory_rejects_only_large_images(
    tmp_path: Path, decoding: DecodingEncoder, tell: Tell
) -> None:
    large = write_tiles(tmp_path / "tiles", 1)
    small = tmp_path / "tiles" / "00.png"
    list(decoding.encode_files([small] * 64))  # both decoders are running now
    for child in processes_of("decode.worker"):
        taken = child.memory_info().vms
        child.rlimit(psutil.RLIMIT_AS, (taken + 50 * 2**20, taken + 50 * 2**20))
    report = run_build(tmp_path / "t.hx", decoding, tmp_path / "tiles")
    assert report.tiles == 40
    (reason,) = (reasons(tmp_path / "t.hx")[name] for name in large)
    assert reason.startswith("too large: not enough memory to decode it; cut it into tiles")
    tell("decoders with 50 MB to spare", "a tile that needs more is rejected, 40 others indexed")


def test_the_kernel_takes_a_decoder_before_the_build(
    tmp_path: Path, decoding: DecodingEncoder
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    list(decoding.encode_files([tmp_path / "a.png"]))
    (decoder,) = processes_of("decode.worker")
    own, its = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", decoder.pid)
    )
    assert its >= min(own + 500, 1000)
