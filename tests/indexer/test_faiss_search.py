"""FAISS behind its one door: exact answers, and files that are not ours are refused."""

import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from histo_index.errors import IndexFormatError
from histo_index.indexer.faiss_flat import (
    FlatStructure,
    build_flat,
    faiss_version,
    read_flat,
    write_flat,
)

N, D = 500, 32
HALVES = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
PATH = Path("place/flat.faiss")


def written(tmp_path: Path) -> bytes:
    path = tmp_path / "flat.faiss"
    write_flat(path, [HALVES[:200], HALVES[200:]], rows=len(HALVES), size=D)
    return path.read_bytes()


def read(data: bytes, *, rows: int = N, size: int = D) -> FlatStructure:
    return read_flat(PATH, data, rows=rows, size=size, gpu=False)


def test_what_is_written_is_found_exactly(tmp_path: Path) -> None:
    queries = np.random.default_rng(1).standard_normal((40, D)).astype(np.float32)
    exact = HALVES.astype(np.float64)
    gaps = ((queries[:, None, :].astype(np.float64) - exact[None]) ** 2).sum(axis=2)
    expected = np.argsort(gaps, axis=1, kind="stable")[:, :9]
    found = read(written(tmp_path)).search(queries, 9)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(FlatStructure(build_flat([HALVES], D)).search(queries, 9), found)


def test_the_file_is_as_faiss_itself_writes_it(tmp_path: Path) -> None:
    faiss.write_index(build_flat([HALVES], D), str(tmp_path / "own.faiss"))
    assert written(tmp_path) == (tmp_path / "own.faiss").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
@pytest.mark.parametrize("missing", [1, 40, N * D])
def test_a_file_that_cannot_be_written_whole_is_an_error(tmp_path: Path, missing: int) -> None:
    # FAISS's own writer says nothing when the last bytes of a file cannot be written.
    import resource

    size = len(written(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - missing, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_flat(tmp_path / "again.faiss", [HALVES], rows=len(HALVES), size=D)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_another_number_or_size_of_vectors_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path)
    for rows, size in ((N + 1, D), (N, D * 2), (0, D)):
        with pytest.raises(IndexFormatError) as caught:
            read(data, rows=rows, size=size)
        assert str(caught.value) == (
            f"place/flat.faiss: holds {N} vectors of {D}, expected {rows} of {size}; "
            "run `histo-index reindex`"
        )


@pytest.mark.parametrize("kind", ["Flat", "SQ8", "IVF4,Flat", "HNSW8,SQfp16", "product"])
def test_another_kind_of_index_is_refused(kind: str) -> None:
    index: Any
    if kind == "product":
        index = faiss.IndexScalarQuantizer(
            D, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
    else:
        index = faiss.index_factory(D, kind)
    floats = HALVES.astype(np.float32)
    index.train(floats)
    index.add(floats)
    with pytest.raises(IndexFormatError) as caught:
        read(faiss.serialize_index(index).tobytes())
    assert str(caught.value) == (
        "place/flat.faiss: not an exact index of float16 vectors; run `histo-index reindex`"
    )


@pytest.mark.parametrize("length", [0, 1, 4, 30, 60, 1000, -1])
def test_a_short_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(
        IndexFormatError, match=r"^place/flat\.faiss: not a FAISS index \("
    ) as caught:
        read(written(tmp_path)[:length])
    assert "\n" not in str(caught.value)


def test_the_version_names_faiss_and_how_it_was_compiled() -> None:
    assert faiss_version().startswith(f"{faiss.__version__} (")
