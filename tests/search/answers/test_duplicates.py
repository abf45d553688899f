"""Close pairs, duplicates and outliers are those of a plain comparison of all with all."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from histo_index.arrays import Float32
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.answers.duplicates import find_duplicates, find_outliers
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.close_pairs import close_pairs, write_close_pairs
from tests.vectors import build_numbered, unit_vectors

N, D = 300, 100


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    """Three near-copies of tile 10, one of 20 linked to another by a chain, and an outlier."""
    vectors = np.repeat(unit_vectors(30, D), 10, axis=0) + 0.5 * unit_vectors(N, D, seed=1)
    for copy in (11, 250, 299):
        vectors[copy] = vectors[10] + 0.02 * unit_vectors(1, D, seed=copy)[0]
    step = unit_vectors(1, D, seed=7)[0]
    vectors[21], vectors[22] = vectors[20] + 0.1 * step, vectors[20] + 0.2 * step
    vectors[77] = -vectors[:77].sum(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("surveys"),
        vectors,
        [f"{n:03}.png" for n in range(N)],
        columns=",label,distance",
        rows=[f",x{n % 3},{n}" for n in range(N)],
    )
    return OpenIndex(folder)


def all_distances(index: OpenIndex) -> Float32:
    matrix = np.asarray(index.matrix)
    return np.stack([pair_distances(np.broadcast_to(row, matrix.shape), matrix) for row in matrix])


@pytest.mark.parametrize("directions", [5, D])
@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.3, 4.0])
def test_close_pairs_are_all_and_only_those(
    index: OpenIndex, threshold: float, directions: int
) -> None:
    distances = all_distances(index)
    expected = {(a, b) for a, b in np.argwhere(distances <= threshold).tolist() if a < b}
    found = {}
    for left, right, gaps in close_pairs(index, threshold, directions=directions, block=(64, 100)):
        for a, b, gap in zip(left.tolist(), right.tolist(), gaps.tolist(), strict=True):
            assert (a, b) not in found
            found[a, b] = gap
    assert set(found) == expected
    for (a, b), gap in found.items():
        assert gap == pytest.approx(distances[a, b], abs=2e-6)


def test_close_pairs_go_to_parquet(index: OpenIndex, tmp_path: Path) -> None:
    count = write_close_pairs(index, 0.2, tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.column_names == ["image_a", "image_b", "distance"]
    pairs = {(row["image_a"], row["image_b"]) for row in table.to_pylist()}
    expected = np.argwhere(all_distances(index) <= 0.2).tolist()
    assert pairs == {(f"{a:03}.png", f"{b:03}.png") for a, b in expected if a < b}
    assert count == len(table) > 0


@pytest.mark.parametrize("threshold", [-0.1, 4.1, float("nan")])
def test_a_threshold_that_is_no_distance_is_refused(index: OpenIndex, threshold: float) -> None:
    with pytest.raises(InputError, match="expected a distance from 0 to 4"):
        next(close_pairs(index, threshold))
    with pytest.raises(InputError, match="expected a distance from 0 to 4"):
        find_duplicates(index, threshold=threshold)


def test_every_tile_of_a_group_is_a_copy_of_its_first_tile(index: OpenIndex) -> None:
    """20 and 22 are no copies, but 21 is one of both: it is the first tile of the group."""
    limit = 0.02
    table = find_duplicates(index, threshold=limit).to_pylist()
    groups = [[row["image_id"][:3] for row in table if row["group"] == n] for n in (1, 2)]
    assert groups == [["010", "011", "250", "299"], ["021", "020", "022"]]
    assert len(table) == 7
    distances = all_distances(index)
    assert table[3]["distance"] == pytest.approx(distances[10, 299], abs=2e-6)
    assert distances[20, 22] > limit
    assert [row["kind"] for row in table] == ["first", *["near"] * 3, "first", *["near"] * 2]
    assert {row["pixels"] for row in table if row["kind"] == "near"} == {"not confirmed on pixels"}
    assert (table[0]["label"], table[0]["tile_distance"]) == ("x1", 10)
    assert find_duplicates(index, threshold=0).num_rows == 0


def test_the_same_bytes_are_exact_duplicates(tmp_path: Path) -> None:
    folder, _ = build_numbered(tmp_path, unit_vectors(9, 8), [f"{n}.png" for n in range(6)])
    (tmp_path / "tiles" / "5.png").write_text("2")
    from histo_index.indexer.build import build
    from histo_index.indexer.build_config import BuildConfig
    from tests.vectors import NumberEncoder

    encoder = NumberEncoder(unit_vectors(9, 8), tmp_path / "encoder")
    build(BuildConfig(sources=[tmp_path / "tiles"], output=folder), encoder)
    rows = find_duplicates(OpenIndex(folder)).to_pylist()
    assert [(row["image_id"], row["kind"]) for row in rows] == [
        ("2.png", "first"),
        ("5.png", "exact"),
    ]


def test_outliers_are_furthest_from_their_nearest(index: OpenIndex) -> None:
    distances = all_distances(index)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(-distances.min(axis=1), kind="stable")[:4]
    rows = find_outliers(index, count=4).to_pylist()
    assert [row["image_id"] for row in rows] == [f"{n:03}.png" for n in order]
    assert rows[0]["image_id"] == "077.png"
    assert rows[0]["nearest"] == f"{distances[77].argmin():03}.png"
    assert rows[0]["distance"] == pytest.approx(distances[77].min(), abs=2e-6)
    assert find_outliers(index, count=10_000).num_rows == N
    with pytest.raises(InputError, match="count is 0"):
        find_outliers(index, count=0)
