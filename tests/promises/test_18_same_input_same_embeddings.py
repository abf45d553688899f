"""The same tile gives the same embedding, bit for bit, whoever decodes it and beside what.

On a CPU; tests/cluster has the test of a cluster.
"""

import os
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.encoder.encoder import EncodedTile, Encoder, open_encoder
from histo_index.encoder.runtime.openvino import has_bfloat16
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.reader import OpenIndex
from tests.promises.conftest import Tell, Tries
from tests.small_encoder import write_small_encoder

Vectors = dict[str, bytes]
SIDE: Final = 64
KINDS: Final = tuple(CATEGORIES)[:4]
PRECISIONS: Final = [
    "float32",
    pytest.param(
        "bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="this CPU has none")
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of small input."""
    return write_small_encoder(tmp_path_factory.mktemp("made") / "encoder", seed=2, side_px=SIDE)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered tiles of other sizes than the input, so that each is resized, and some bad ones."""
    folder = tmp_path_factory.mktemp("tiles")
    for seed, size_px in enumerate((SIDE, 80, 97)):
        for name in KINDS:
            tile = render_tile(name, seed=seed, size_px=size_px)
            Image.fromarray(tile).save(folder / f"{name} {seed}.png")
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def pretend_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let this process believe that it may run on so many cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)


def vectors_of(encoder: Encoder, paths: list[Path]) -> Vectors:
    results = zip(paths, encoder.encode_files(paths), strict=True)
    return {p.name: t.embedding.tobytes() for p, t in results if isinstance(t, EncodedTile)}


def indexed(index: Path) -> dict[str, tuple[str, bytes]]:
    opened = OpenIndex(index)
    vectors: npt.NDArray[np.float16] = opened.vectors(np.arange(len(opened)))
    rows = opened.rows.select(["image_id", "sha256"]).to_pylist()
    return {
        row["image_id"]: (row["sha256"], vector.tobytes())
        for row, vector in zip(rows, vectors, strict=True)
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_number_of_workers_does_not_change_a_bit(
    folder: Path, tiles: Path, precision: str, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    paths, found = sorted(tiles.iterdir()), []
    for cores in (1, 2, 4):
        pretend_cores(monkeypatch, cores)
        encoder = open_encoder(folder, device="cpu", precision=precision)
        found.append(vectors_of(encoder, paths))
        assert encoder.runtime.parallel == cores
    assert len(found[0]) == len(paths) - 1
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == len(found[0])
    tell(f"{len(found[0])} tiles in {precision} with 1, 2 and 4 workers", "equal bit for bit")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_batch_composition_does_not_change_a_bit(
    folder: Path, tiles: Path, precision: str, tries: Tries, tell: Tell
) -> None:
    encoder, paths = open_encoder(folder, device="cpu", precision=precision), list(tiles.iterdir())
    expected, orders = vectors_of(encoder, sorted(paths)), tries(4, 500)
    for seed in range(orders):
        dice = Random(seed)
        some = dice.sample(paths, dice.randint(1, len(paths)))
        found = vectors_of(encoder, some)
        assert found == {p.name: expected[p.name] for p in some if p.name in expected}
    tell(f"{orders} random batches in {precision}", "equal bit for bit")


def test_interruptions_do_not_change_the_index(
    folder: Path, tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    found = []
    for cores, shard_rows in ((1, 1024), (2, 3), (4, 7)):
        pretend_cores(monkeypatch, cores)
        index = tmp_path / f"{cores}.hx"
        encoder = open_encoder(folder, device="cpu", precision="float32")
        # First a half of the tiles, then all of them.
        few = [path for number, path in enumerate(sorted(tiles.iterdir())) if number % cores == 0]
        for sources in (few, [tiles]):
            build(
                BuildConfig(sources=sources, output=index, shard_rows=shard_rows, replace=True),
                encoder,
            )
        found.append(indexed(index))
    assert len(found[0]) == 3 * len(KINDS)
    assert found[0] == found[1] == found[2]
    tell("3 builds in other steps, shards and workers", "equal bit for bit")
