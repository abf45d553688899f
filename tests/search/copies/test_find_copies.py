"""Candidates are the nearest tiles of each, and pixels or a tiny distance decide about them."""

from pathlib import Path

import numpy as np
import pytest

from histo_index.arrays import Float64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.candidates import find_candidates
from histo_index.search.copies.copies import Copies, find_copies
from histo_index.search.copies.limits import copy_limits
from histo_index.search.copies.tile_files import TileFiles
from tests.search.copies.pictures import numbered_pictures
from tests.vectors import build_numbered, unit_vectors

# Tiles vary in more directions than candidates are looked for in, and hardly in the last one.
N, D, VARIED = 200, 100, 80


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    """Tile 1 lies 0.09 from tile 0, tile 3 0.0025 from tile 2, and tile 5 0.24 from tile 4.

    Tiles 4 and 5 differ in a direction in which candidates are not looked for. Tile 7 lies 0.47
    from tile 6, a quarter of what random tiles do, and is its nearest all the same.
    """
    vectors = np.zeros((N, D), np.float32)
    vectors[:, :VARIED] = unit_vectors(N, VARIED)
    steps = unit_vectors(2, VARIED, seed=1)
    for tile, size in ((0, 0.3), (2, 0.05)):
        vectors[tile + 1, :VARIED] = vectors[tile, :VARIED] + size * steps[tile // 2]
    vectors[7] = vectors[6] + 0.9 * vectors[8]
    vectors[5] = vectors[4]
    vectors[5, -1] = 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("copies"), vectors, [f"{n:02}.png" for n in range(N)]
    )
    return OpenIndex(folder)


def pairs_of(found: Copies) -> dict[tuple[int, int], bool]:
    """List the pairs, and whether their pixels agree."""
    ends = zip(found.left.tolist(), found.right.tolist(), strict=True)
    return dict(zip(ends, found.is_confirmed.tolist(), strict=True))


def find(index: OpenIndex, files: TileFiles | None) -> dict[tuple[int, int], bool]:
    return pairs_of(find_copies(index, np.arange(N), copy_limits(index), files))


def all_distances(index: OpenIndex) -> Float64:
    vectors = index.vectors(np.arange(N)).astype(np.float64)
    distances: Float64 = ((vectors[:, None] - vectors) ** 2).sum(axis=2)
    return distances


def test_no_pair_within_the_limit_is_left_out(index: OpenIndex) -> None:
    left, right = np.nonzero(np.triu(all_distances(index) <= 0.1, 1))
    near = {*zip(left.tolist(), right.tolist(), strict=True)}
    assert near == {(0, 1), (2, 3)}
    left, right = find_candidates(index, np.arange(N), 0.1)
    # Tiles 4 and 5 differ where nobody looks: they are a candidate, and no copy by distance.
    assert {*zip(left.tolist(), right.tolist(), strict=True)} == near | {(4, 5)}


def test_so_many_nearest_tiles_of_each_are_candidates(index: OpenIndex) -> None:
    left, right = find_candidates(index, np.arange(N), 4.0, neighbours=3)
    pairs = {*zip(left.tolist(), right.tolist(), strict=True)}
    assert len(pairs) == len(left)
    assert {(0, 1), (2, 3), (4, 5), (6, 7)} <= pairs
    partners = np.bincount(np.concatenate([left, right]), minlength=N)
    assert partners.min() == 3
    assert len(left) <= 3 * N


def test_only_without_pixels_is_there_a_limit_and_it_is_a_share_of_the_median(
    index: OpenIndex,
) -> None:
    median = np.median(all_distances(index)[np.triu_indices(N, 1)])
    limits = copy_limits(index)
    assert limits.confirmed == 4
    assert limits.unconfirmed == pytest.approx(0.01 * median, rel=0.05)
    few = copy_limits(index, rows=np.arange(2))
    assert few.unconfirmed == pytest.approx(0.01 * 0.09, rel=0.1)
    given = copy_limits(index, 0.1)
    assert (given.confirmed, given.unconfirmed) == (0.1, 0.1)
    with pytest.raises(InputError, match="threshold is 5; expected a distance from 0 to 4"):
        copy_limits(index, 5)


def test_without_files_only_the_nearest_are_copies(index: OpenIndex) -> None:
    assert find(index, None) == {(2, 3): False}
    missing = numbered_pictures(index, np.zeros((0, 32, 32), np.uint8))
    assert find(index, missing) == {(2, 3): False}


def test_pixels_decide_about_nearer_and_further_pairs(index: OpenIndex) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 32, 32), np.uint8)
    pictures[1] = pictures[0]
    assert find(index, numbered_pictures(index, pictures)) == {(0, 1): True}


def test_copies_that_lie_far_apart_are_found_among_the_nearest(index: OpenIndex) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (N, 32, 32), np.uint8)
    pictures[7], pictures[100] = pictures[6], pictures[0]
    files = numbered_pictures(index, pictures)
    found = find_copies(index, np.arange(N), copy_limits(index), files, neighbours=1)
    assert pairs_of(found) == {(6, 7): True}
    assert found.distances == pytest.approx(all_distances(index)[6, 7], abs=1e-4)
    assert found.distances == pytest.approx(0.47, abs=0.01)
    # A limit of the user's holds where pixels agree, too.
    assert pairs_of(find_copies(index, np.arange(N), copy_limits(index, 0.4), files)) == {}


def test_a_file_that_was_changed_since_the_build_confirms_nothing(tmp_path: Path) -> None:
    vectors = unit_vectors(20, D)
    vectors[1] = vectors[0] + 0.05 * unit_vectors(1, D, seed=1)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder, _ = build_numbered(tmp_path, vectors, [f"{n:02}.png" for n in range(20)])
    index = OpenIndex(folder)
    pictures = np.random.default_rng(0).integers(0, 255, (20, 32, 32), np.uint8)
    pictures[1] = pictures[0]
    files = numbered_pictures(index, pictures)
    limits = copy_limits(index)
    assert pairs_of(find_copies(index, np.arange(20), limits, files)) == {(0, 1): True}
    (files.root / "01.png").write_text("0")
    assert pairs_of(find_copies(index, np.arange(20), limits, files)) == {(0, 1): False}
