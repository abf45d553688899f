"""When a search moves to a GPU, and that the CPU answers where it cannot."""

from typing import Any, Final

import faiss
import numpy as np
import pytest

from histo_index.arrays import Float32
from histo_index.indexer.nearest import gpu
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.exact import ExactSearch
from histo_index.indexer.nearest.faiss_index import make_candidates
from histo_index.indexer.nearest.gpu import LazyGpuSearch, candidates_on_gpu, exact_on_gpu, fits_gpu
from histo_index.indexer.nearest.torch_exact import TorchSearch
from tests.vectors import sorted_rows, unit_vectors

N, D = 3000, 32
HALVES: Final = unit_vectors(N, D).astype(np.float16)
QUERIES: Final[Float32] = unit_vectors(30, D, seed=1).astype(np.float16).astype(np.float32)
ANSWER: Final = np.array([[7]])


class Starts:
    """Counts how often it was asked for a GPU, and gives what it was told to."""

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu
        self.count = 0

    def __call__(self) -> str | None:
        self.count += 1
        return self.gpu


def answer(gpu: str) -> Any:
    assert gpu == "gpu"
    return ANSWER


def test_gpu_starts_after_enough_queries() -> None:
    starts = Starts("gpu")
    later = LazyGpuSearch(starts, after=100)
    assert later.ask(60, answer) is None
    assert starts.count == 0
    assert later.ask(40, answer) is ANSWER
    assert later.ask(1, answer) is ANSWER
    assert starts.count == 1


def test_the_cpu_answers_while_the_gpu_is_busy() -> None:
    later = LazyGpuSearch(Starts("gpu"), after=1)
    # Asked from within a question, as another thread would.
    assert later.ask(1, lambda gpu: np.array([[later.ask(1, answer) is None]])) == [[True]]
    assert later.ask(1, answer) is ANSWER


def test_without_a_gpu_the_search_is_not_repeated() -> None:
    starts = Starts(None)
    later = LazyGpuSearch(starts, after=1)
    assert [later.ask(5, answer) for _ in range(3)] == [None] * 3
    assert starts.count == 1


def test_failing_gpu_is_reported_once_and_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    later = LazyGpuSearch(Starts("gpu"), after=1)

    def fail(gpu: str) -> Any:
        raise RuntimeError("CUDA error 2\n out of memory")

    assert [later.ask(5, fail) for _ in range(3)] == [None] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU cannot search (CUDA error 2 out of memory); the CPU goes on"
    ]


def test_exact_search_moves_with_the_work_and_answers_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    class Watched(TorchSearch):
        def search(self, queries: Float32, count: int, allowed: Any = None) -> Any:
            asked.append(len(queries))
            return super().search(queries, count, allowed)

    def start(matrix: Any) -> TorchSearch:
        return Watched(matrix, device="cpu", room_bytes=10**9)

    monkeypatch.setattr(gpu, "has_cuda", lambda: True)
    monkeypatch.setattr("histo_index.indexer.nearest.torch_exact.start_on_gpu", start)
    allowed = np.arange(N) % 3 == 0
    exact = ExactSearch(HALVES, gpu=exact_on_gpu(HALVES, worth=40 * N * D))
    before = [exact.search(QUERIES, 9), exact.search(QUERIES[:1], 9)]
    assert asked == []
    after = [exact.search(QUERIES, 9), exact.search(QUERIES[:1], 9)]
    assert asked == [30, 1]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        exact.search(QUERIES, 9, allowed), ExactSearch(HALVES).search(QUERIES, 9, allowed)
    )
    assert asked == [30, 1, 30]


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, searched: list[int]) -> None:
    """Let FAISS's CPU index stand in for the GPU's."""

    class Gpu:
        def __init__(self, index: Any) -> None:
            self.index = index

        def search(self, queries: Float32, count: int, *, params: Any) -> Any:
            searched.append(len(queries))
            return self.index.search(queries, count, params=params)

    def copy(resources: Any, device: int, index: Any) -> Gpu:
        assert device == 0
        return Gpu(faiss.clone_index(index))

    monkeypatch.setattr(gpu, "gpu_count", lambda: 1)
    # Not every build of FAISS has these.
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copy, raising=False)


def candidate_search(kind: str = "PCA16,IVF16,SQ8") -> CandidateSearch:
    index = make_candidates(kind, HALVES[::2], [HALVES], size=D)
    return CandidateSearch(
        index,
        ExactSearch(HALVES),
        effort=4,
        candidates=64,
        gpu=candidates_on_gpu(index, after=50),
    )


def test_candidates_move_to_the_gpu_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = candidate_search().search(QUERIES, 10)
    searched: list[int] = []
    on_a_gpu(monkeypatch, searched)
    search = candidate_search()
    first, second = search.search(QUERIES, 10), search.search(QUERIES, 10)
    assert searched == [30]
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected)
    # What FAISS cannot do there stays on the CPU: filters, and many neighbours.
    allowed = np.arange(N) % 2 == 0
    filtered = search.search(QUERIES, 10, allowed)
    assert allowed[filtered[filtered >= 0]].all()
    assert search.search(QUERIES, N).shape == (30, N)
    assert searched == [30]


def test_a_structure_that_faiss_has_on_no_gpu_stays_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on_a_gpu(monkeypatch, [])

    def refuse(*_: Any) -> Any:
        raise RuntimeError("This index type is not implemented on GPU.")

    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse)
    search = candidate_search("HNSW16")
    found = [search.search(QUERIES, 10) for _ in range(3)]
    np.testing.assert_array_equal(found[0], found[2])
    assert caplog.text.count("not implemented on GPU.); the CPU goes on") == 1


def test_gpu_sort_size_is_limited() -> None:
    assert fits_gpu(candidates=2048, effort=2048)
    assert not fits_gpu(candidates=2049, effort=1)
    assert not fits_gpu(candidates=1, effort=2049)


def test_a_machine_without_a_gpu_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    monkeypatch.setattr(gpu, "gpu_count", lambda: 0)
    for later in (exact_on_gpu(HALVES, worth=1), candidates_on_gpu(None, after=1)):
        assert later.ask(10, lambda _: ANSWER) is None


def test_faiss_counts_no_gpus_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    assert gpu.gpu_count() == 0
    monkeypatch.setattr(gpu, "has_cuda", lambda: True)
    assert gpu.gpu_count() == 2


@pytest.mark.parametrize("queries", [1, 15, 16, 30])
@pytest.mark.parametrize("share", [1, 7, 1500])
def test_few_and_many_queries_find_the_same(queries: int, share: int) -> None:
    allowed = None if share == 1 else np.arange(N) % share == 0
    expected = sorted_rows(QUERIES[:queries], HALVES, allowed)[:, :9]
    if allowed is not None:
        expected[~allowed[expected]] = -1
    search = ExactSearch(HALVES, many=16, block=700)
    found = search.search(QUERIES[:queries], 9, allowed)
    np.testing.assert_array_equal(found, expected)
