"""Baselines are compared like the index: by distances of the same kind."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import histo_index
from histo_index.api.evaluate import read_labelled_pairs
from histo_index.api.evaluation.baseline_cache import BaselineVectors, write_cache
from histo_index.api.evaluation.baselines import compute_baselines
from histo_index.arrays import Float32
from histo_index.commands.answers.metrics import describe_evaluation
from histo_index.errors import ImageError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.search.distance import pair_distances
from tests.vectors import NumberEncoder, build_numbered, unit_vectors

N, D = 120, 16
RANDOMS = unit_vectors(N, 8, seed=9)
# One picture twice: it counts once.
RANDOMS[7] = RANDOMS[3]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles that baselines were made of, in that order; the module itself would bring torch."""
    asked: list[int] = []

    def baseline_vectors(
        folder: Path, paths: Sequence[Path], *, device: str
    ) -> tuple[Float32, Float32, list[str]]:
        for path in paths:
            if not path.exists():
                raise ImageError(f"{path}: cannot be read (No such file or directory)")
        tiles = [int(path.read_text()) for path in paths]
        asked.extend(tiles)
        digests = [hash_file(path) for path in paths]
        return unit_vectors(N, 8, seed=4)[tiles], RANDOMS[tiles], digests

    stand_in = SimpleNamespace(baseline_vectors=baseline_vectors)
    monkeypatch.setitem(sys.modules, "histo_index.encoder.baselines", stand_in)
    return asked


def build_index(folder: Path, distance: str) -> Path:
    names = [f"{n:03}.png" for n in range(N)]
    rows = [f",{'abc'[n % 3]}" for n in range(N)]
    path, _ = build_numbered(folder, unit_vectors(N, D), names, columns=",label", rows=rows)
    config = BuildConfig(
        sources=[], output=path, manifest=folder / "tiles" / "manifest.csv", distance=distance
    )
    build(config, NumberEncoder(unit_vectors(N, D), folder / "encoder"))
    return path


def write_labels(folder: Path, tiles: int) -> Path:
    """Label the first tiles."""
    path = folder / "labels.csv"
    path.write_text("path,label\n" + "".join(f"{n:03}.png,{'abc'[n % 3]}\n" for n in range(tiles)))
    return path


@pytest.mark.parametrize("labelled", [N, 30])
def test_random_weights_are_fitted_as_the_index_is(
    tmp_path: Path, encoded: list[int], labelled: int
) -> None:
    index = histo_index.open(build_index(tmp_path, "diffused"))
    found = index.evaluate(labels=write_labels(tmp_path, labelled))
    assert encoded[:labelled] == list(range(labelled))
    assert len(set(encoded)) == len(encoded) == max(labelled, 100)
    randoms = RANDOMS[[n for n in encoded if n != 7]]
    vectors = fit_diffusion(randoms).apply(RANDOMS[:labelled])
    expected = pair_distances(vectors[found.dataset.left], vectors[found.dataset.right])
    (baseline,) = [baseline for baseline in found.baselines if baseline.name == "random weights"]
    assert baseline.curve is not None
    assert baseline.curve.thresholds[1:].tolist() == np.unique(expected).tolist()
    assert "  distances  diffused, random weights too\n" in describe_evaluation(found)


def test_tiles_that_only_fit_the_transform_may_be_missing(
    tmp_path: Path, encoded: list[int]
) -> None:
    index = histo_index.open(build_index(tmp_path, "diffused"))
    labels = write_labels(tmp_path, 30)
    for number in range(40, N):
        (tmp_path / "tiles" / f"{number:03}.png").unlink()
    found = index.evaluate(labels=labels)
    assert sorted(encoded) == list(range(40))
    assert [baseline.name for baseline in found.baselines] == [
        "colour histogram",
        "random weights",
        "majority",
    ]


def test_random_weights_are_plain_as_the_index_is(tmp_path: Path, encoded: list[int]) -> None:
    index = histo_index.open(build_index(tmp_path, "plain"))
    found = index.evaluate(labels=write_labels(tmp_path, 30))
    assert encoded == list(range(30))
    (baseline,) = [baseline for baseline in found.baselines if baseline.name == "random weights"]
    expected = pair_distances(RANDOMS[found.dataset.left], RANDOMS[found.dataset.right])
    assert baseline.curve is not None
    assert baseline.curve.thresholds[1:].tolist() == np.unique(expected).tolist()
    assert found.as_dict()["distance"] == "plain"


def test_a_missing_tile_leaves_out_the_baselines(
    tmp_path: Path, encoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    index = histo_index.open(build_index(tmp_path, "plain"))
    (tmp_path / "tiles" / "003.png").unlink()
    found = index.evaluate()
    assert found.warnings[0] == (
        "colour histogram and random weights are left out: a tile is missing; pass --tiles DIR"
    )
    assert "003.png: cannot be read (No such file or directory)" in caplog.text
    assert [baseline.name for baseline in found.baselines] == ["majority"]


def baselines_of(path: Path, tiles: int = N) -> dict[str, list[list[float]]]:
    """Compute the baselines of the first tiles of an index, as `evaluate` does."""
    opened = histo_index.open(path).opened
    labels = write_labels(path.parent, tiles)
    dataset = read_labelled_pairs(opened, pairs=None, labels=labels, label=None, group=None)
    found = compute_baselines(opened, dataset, path.with_name("tiles"))
    return {name: vectors.tolist() for name, vectors in found.items()}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    names = [f"{n:03}.png" for n in range(N)]
    return build_numbered(tmp_path, unit_vectors(N, D), names)[0]


def test_baselines_are_computed_once(plain: Path, encoded: list[int]) -> None:
    part = baselines_of(plain, tiles=30)
    assert encoded == list(range(30))
    first = baselines_of(plain)
    assert encoded == list(range(N))
    assert first["random weights"] == RANDOMS.tolist()
    assert {name: vectors[:30] for name, vectors in first.items()} == part
    assert baselines_of(plain) == first
    assert len(encoded) == N


def test_a_damaged_cache_of_baselines_is_computed_again(plain: Path, encoded: list[int]) -> None:
    first = baselines_of(plain)
    (cache,) = plain.glob("search/*/baselines.npz")
    data = bytearray(cache.read_bytes())
    data[len(data) // 2] ^= 1
    cache.write_bytes(data)
    assert baselines_of(plain) == first
    assert len(encoded) == 2 * N
    assert cache.read_bytes() != bytes(data)


def test_baselines_of_a_changed_file_are_not_kept(plain: Path, encoded: list[int]) -> None:
    (plain.with_name("tiles") / "003.png").write_text("77")
    for _ in range(2):
        baselines_of(plain)
    assert len(encoded) == 2 * N


def test_a_purge_erases_baselines(plain: Path, encoded: list[int]) -> None:
    before = histo_index.open(plain)
    baselines_of(plain)
    assert len(list(plain.glob("search/*/baselines.npz"))) == 1
    histo_index.open(plain).remove(names=["119.png"], purge=True)
    assert list(plain.glob("search/*/baselines.npz")) == []
    write_cache(before.opened, "late", BaselineVectors.none())  # its generation is gone
    assert list(plain.glob("search/*/baselines.npz")) == []
