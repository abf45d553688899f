"""FAISS behind its one door: exact answers, candidates, and files that are not ours are refused."""

import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import pytest

from histo_index.arrays import Float32
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.nearest.candidates import CandidateSearch
from histo_index.indexer.nearest.exact import (
    ByProducts,
    ExactSearch,
    faiss_version,
    most_effort,
)
from histo_index.indexer.nearest.faiss_index import (
    make_candidates,
    read_candidates,
    write_candidates,
)
from tests.vectors import sorted_rows, unit_vectors

N, D = 3000, 32
# Fifty clusters, so that a few lists hold the neighbours.
CENTRES: Final = np.repeat(unit_vectors(50, D), N // 50, axis=0)
HALVES: Final = (CENTRES + 0.3 * unit_vectors(N, D, seed=1)).astype(np.float16)
QUERIES: Final[Float32] = (HALVES[::100] + 0.1 * unit_vectors(30, D, seed=2)).astype(np.float32)
PATH = Path("folder/candidates.faiss")
KINDS: Final = ("PCA16,IVF16,SQ8", "IVF16,SQ4", "HNSW16", "SQ8", "PCA16,IVF16,RaBitQ")

plain: Final = partial(sorted_rows, QUERIES, HALVES)


def made(kind: str) -> Any:
    return make_candidates(kind, HALVES[::2], [HALVES[:1000], HALVES[1000:]], size=D)


def written(tmp_path: Path, kind: str = "PCA16,IVF16,SQ8") -> bytes:
    write_candidates(tmp_path / "candidates.faiss", made(kind))
    return (tmp_path / "candidates.faiss").read_bytes()


def test_exact_search_equals_a_sort() -> None:
    fixed = HALVES.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(ExactSearch(fixed).search(QUERIES, 9), plain()[:, :9])


def test_many_neighbours_are_found_one_query_at_a_time() -> None:
    # Blocks of rows would round distances otherwise, and so order some of these otherwise.
    search = ExactSearch(HALVES, many=1, few=128)
    np.testing.assert_array_equal(search.search(QUERIES, 129)[:, :99], plain()[:, :99])
    assert len(QUERIES) > 16


def test_concurrent_searches_restore_the_faiss_setting() -> None:
    library: Any = faiss.cvar
    before = library.distance_compute_blas_threshold
    shared = ByProducts()
    shared.__enter__()
    shared.__enter__()
    shared.__exit__()
    assert library.distance_compute_blas_threshold == 1
    shared.__exit__()
    assert library.distance_compute_blas_threshold == before != 1


def test_exact_search_returns_only_allowed_rows() -> None:
    allowed = np.arange(N) % 7 == 3
    found = ExactSearch(HALVES).search(QUERIES, 9, allowed)
    np.testing.assert_array_equal(found, plain(allowed)[:, :9])
    few = np.arange(N) < 4
    found = ExactSearch(HALVES).search(QUERIES, 6, few)
    np.testing.assert_array_equal(found[:, :4], plain(few)[:, :4])
    assert (found[:, 4:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_hold_the_nearest_before_and_after_writing(tmp_path: Path, kind: str) -> None:
    for index in (made(kind), read_candidates(PATH, written(tmp_path, kind), rows=N, size=D)):
        search = CandidateSearch(
            index, ExactSearch(HALVES), effort=most_effort(index), candidates=400
        )
        found = search.search(QUERIES, 10)
        nearest = plain()[:, :10]
        assert all(set(row) <= set(rows) for row, rows in zip(nearest, found, strict=True))


@pytest.mark.parametrize("kind", ["PCA16,IVF16,SQ8", "RR32,PCA8,IVF16,SQ8", "IVF16,SQ8"])
def test_a_single_query_has_the_candidates_that_it_has_among_others(kind: str) -> None:
    search = CandidateSearch(made(kind), ExactSearch(HALVES), effort=4, candidates=40)
    together = search.search(QUERIES, 10)
    alone = np.concatenate([search.search(QUERIES[n : n + 1], 10) for n in range(len(QUERIES))])
    # Where rounding decides, the last of them may differ.
    shares = [len(set(a) & set(b)) / 40 for a, b in zip(alone, together, strict=True)]
    assert min(shares) >= 0.97
    assert np.mean(shares) > 0.995


def test_more_candidates_come_where_more_are_wanted() -> None:
    search = CandidateSearch(made("IVF16,SQ8"), ExactSearch(HALVES), effort=2, candidates=20)
    assert search.search(QUERIES, 5).shape == (30, 20)
    assert search.search(QUERIES, 50).shape == (30, 20 + 4 * (50 - 19))
    found = search.search(QUERIES, N)
    assert all(sorted(rows) == list(range(N)) for rows in found)


@pytest.mark.parametrize("share", [2, 10, 500])
def test_where_candidates_run_short_every_vector_is_compared(share: int) -> None:
    allowed = np.arange(N) % share == 0
    search = CandidateSearch(
        made("IVF16,SQ8"), ExactSearch(HALVES), effort=1, candidates=40, row_cost=10**6
    )
    found = search.search(QUERIES, 12, allowed)
    assert allowed[found[found >= 0]].all()
    assert ((found >= 0).sum(axis=1) >= min(12, allowed.sum())).all()
    # So few pass that every list is looked at, or all of them are compared.
    if share == 500:
        assert set(found[0][found[0] >= 0]) == set(np.flatnonzero(allowed))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Nonsense", "could not parse index string Nonsense"),
        ("PCA99,SQ8", "PCA matrix cannot output 99 dimensions from 32"),
        ("IDMap,SQ8", "add does not make sense with IndexIDMap, use add_with_ids"),
        (
            "IVF16,PQ7",
            "The dimension of the vector (d) should be a multiple of the number of subquantizers "
            "(M)",
        ),
        ("LSH", "search params not supported for this index"),
        ("L2norm,SQ8", "its file could not be checked for damage"),
        ("IVF16,PQ16x4fs", "its file could not be checked for damage"),
    ],
)
def test_faiss_error_is_one_line(kind: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        made(kind)
    assert str(caught.value) == (
        f"--structure {kind}: FAISS cannot make it of 32 dimensions ({reason}); "
        "expected a factory string such as PCA64,IVF1024,SQ8, or exact"
    )


@pytest.mark.parametrize("count", [N, D // 2])
def test_directions_are_those_that_faiss_finds(count: int) -> None:
    scale = 2.0 ** -np.arange(D)
    vectors = (unit_vectors(N, D) * scale + 1).astype(np.float16)
    theirs: Any = faiss.PCAMatrix(D, 4)
    theirs.train(vectors[:count].astype(np.float32))
    index = make_candidates("PCA4,SQ8", vectors[:count], [vectors], size=D)
    ours: Any = faiss.downcast_VectorTransform(index.chain.at(0))
    floats = vectors.astype(np.float32)
    # Each direction may point either way.
    np.testing.assert_allclose(abs(ours.apply(floats)), abs(theirs.apply(floats)), atol=1e-4)


def test_stored_transform_holds_only_its_own_arrays(tmp_path: Path) -> None:
    kept = 4 * (16 * D + 16 + 16 * 16)
    assert len(written(tmp_path)) < kept + N * (16 + 8) + 4 * D + 2000


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
@pytest.mark.parametrize("missing", [1, 40, 16 * N])
def test_a_file_that_cannot_be_written_whole_is_an_error(tmp_path: Path, missing: int) -> None:
    # FAISS's own writer says nothing when the last bytes of a file cannot be written.
    import resource

    index, size = made("PCA16,IVF16,SQ8"), len(written(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - missing, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_candidates(tmp_path / "again.faiss", index)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_another_number_or_size_of_vectors_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path)
    for rows, size in ((N + 1, D), (N, D * 2), (0, D)):
        with pytest.raises(IndexFormatError) as caught:
            read_candidates(PATH, data, rows=rows, size=size)
        assert str(caught.value) == (
            f"folder/candidates.faiss: holds {N} vectors of {D}, expected {rows} of {size}; "
            "run `histo-index reindex`"
        )


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = written(tmp_path, "IVF16,SQ8")
    index: Any = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    ids = faiss.rev_swig_ptr(index.invlists.get_ids(0), 1)
    ids[0] = N
    with pytest.raises(IndexFormatError) as caught:
        read_candidates(PATH, faiss.serialize_index(index).tobytes(), rows=N, size=D)
    assert str(caught.value) == (
        "folder/candidates.faiss: its parts do not fit each other; run `histo-index reindex`"
    )


@pytest.mark.parametrize("length", [0, 1, 4, 30, 60, 1000, -1])
def test_a_short_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(
        IndexFormatError, match=r"^folder/candidates\.faiss: not a FAISS index \("
    ) as caught:
        read_candidates(PATH, written(tmp_path)[:length], rows=N, size=D)
    assert "\n" not in str(caught.value)


def test_the_version_names_faiss_and_how_it_was_compiled() -> None:
    assert faiss_version().startswith(f"{faiss.__version__} (")
