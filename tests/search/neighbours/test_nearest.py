"""Many queries at once, by candidates and exact distances, get what a plain sort gives each."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from histo_index.arrays import Float32, Int64
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from histo_index.search.distance import pair_distances
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import NOBODY, Found, nearest_rows
from tests.vectors import build_numbered, unit_vectors

N, D = 600, 24


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    centres = np.repeat(unit_vectors(30, D), N // 30, axis=0)
    vectors = centres + 0.5 * unit_vectors(N, D, seed=1)
    vectors[100:105] = vectors[100]  # exact ties keep their row order
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder, _ = build_numbered(
        tmp_path_factory.mktemp("ranking"),
        vectors,
        [f"{n:03}.png" for n in range(N)],
        columns=",site",
        rows=[f",{'AB'[n % 2]}" for n in range(N)],
    )
    reindex(folder, SearchConfig(structure="PCA16,IVF8,SQ8", recall=0.999))
    return OpenIndex(folder)


def plain(
    index: OpenIndex, query: int, k: int, allowed: npt.NDArray[np.bool_]
) -> tuple[list[int], list[float]]:
    matrix = np.asarray(index.matrix)
    distances = pair_distances(np.broadcast_to(matrix[query], matrix.shape), matrix)
    distances[~allowed] = np.inf
    distances[query] = np.inf
    order = np.argsort(distances, kind="stable")[:k]
    return order.tolist(), distances[order].tolist()


def search(index: OpenIndex, k: int, filters: Filters | None = None) -> Found:
    return nearest_rows(index, index.matrix, k=k, own_rows=range(N), filters=filters, block=250)


def test_every_tile_gets_the_neighbours_of_a_sort(index: OpenIndex) -> None:
    everything = np.ones(N, bool)
    found = search(index, 10)
    wrong = 0
    for query in range(N):
        rows, distances = plain(index, query, 10, everything)
        wrong += len(set(rows) - set(found.rows[query].tolist()))
        if found.rows[query].tolist() == rows:
            assert found.distances[query] == pytest.approx(distances, abs=2e-6)
    assert wrong <= 0.01 * 10 * N
    assert found.rows[102, :4].tolist() == [100, 101, 103, 104]


def test_a_filter_decides_before_candidates_do(index: OpenIndex) -> None:
    is_a = np.arange(N) % 2 == 0
    found = search(index, 10, Filters(where="site = 'A'"))
    hits = [
        len(set(plain(index, query, 10, is_a)[0]) & set(found.rows[query].tolist()))
        for query in range(N)
    ]
    assert is_a[found.rows].all()
    assert sum(hits) >= 0.99 * 10 * N


def test_unreachable_row_is_no_neighbour(index: OpenIndex) -> None:
    found = search(index, 5, Filters(where="image_id in ('003.png', '004.png', '007.png')"))
    assert found.rows[3].tolist()[2:] == [NOBODY] * 3
    assert set(found.rows[3, :2].tolist()) == {4, 7}
    assert np.isinf(found.distances[3, 2:]).all()
    assert search(index, 5000).rows.shape == (N, N)


def test_exact_distances_rank_spare_candidates(
    index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = np.ones(N, bool)
    nearest, _ = plain(index, 0, 9, everything)

    class Unsure:
        """Finds the right candidates, the nearest last."""

        def search(self, queries: Float32, count: int, allowed: object) -> Int64:
            return np.array([[0, *nearest[::-1]][:count]])

    monkeypatch.setattr(OpenIndex, "structure", Unsure())
    found = nearest_rows(index, index.matrix[:1], k=1, own_rows=[0])
    assert found.rows.tolist() == [nearest[:1]]


def test_lists_of_names_are_read(tmp_path: Path) -> None:
    from histo_index.errors import InputError
    from histo_index.search.inputs.name_list import gather_names

    (tmp_path / "a.txt").write_text("a.png\n\nb c.png\n", encoding="utf-8")
    assert gather_names(["x"], tmp_path / "a.txt") == ["x", "a.png", "b c.png"]
    (tmp_path / "b.csv").write_text("label,path\n1,a.png\n2,007\n")
    assert gather_names([], tmp_path / "b.csv") == ["a.png", "007"]
    (tmp_path / "c.csv").write_text("label\n1\n")
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "e.txt").write_text("\n")
    for name, message in (
        ("c.csv", "no column called image, image_id or path"),
        ("d.txt", r"cannot be read \(it is not UTF-8\)"),
        ("e.txt", "names no images"),
        ("gone.txt", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            gather_names([], tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no images: name some"):
        gather_names([], None)
