"""An open index behaves as a collection of tiles, with its numbers as arrays and tables."""

import copy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.private import PrivateColumns
from tests.vectors import build_numbered, unit_vectors

N, D = 120, 16
NAMES = [f"s{n % 3}/{n:03}.png" for n in range(N)]
VECTORS = unit_vectors(N, D)
STORED = VECTORS.astype(np.float16).astype(np.float32)


def build_index(folder: Path, distance: str = "plain") -> Path:
    rows = [f",{'abc'[n % 3]},Mr {n}" for n in range(N)]
    path, encoder = build_numbered(folder, VECTORS, NAMES, columns=",label,patient", rows=rows)
    build(BuildConfig(sources=[], output=path, distance=distance, shard_rows=50), encoder)
    return path


@pytest.fixture
def index(tmp_path: Path) -> histo_index.Index:
    return histo_index.open(build_index(tmp_path))


def test_version_is_that_of_the_package() -> None:
    assert histo_index.__version__ == "0.1.0"


def test_iteration_length_and_in_agree(index: histo_index.Index) -> None:
    assert list(index) == NAMES
    assert len(index) == N
    assert "s1/001.png" in index
    assert Path("s1/001.png") in index
    assert "001" in index
    assert "s1/002.png" not in index
    assert 1 not in index


def test_repr_names_folder_size_and_encoder(index: histo_index.Index) -> None:
    assert repr(index) == (
        f"<Index {index.opened.folder}: 120 tiles, numbers, plain distances, generation 1>"
    )


def test_notebooks_show_a_table_with_escaped_names(tmp_path: Path) -> None:
    rows = [f",<b>{'xy'[n % 2]}</b>,p{n}" for n in range(4)]
    path, _ = build_numbered(tmp_path, VECTORS, NAMES[:4], columns=",label,group", rows=rows)
    shown = histo_index.open(path)._repr_html_()
    assert shown is not None
    assert "<th style='text-align:left'>tiles</th><td style='text-align:left'>4</td>" in shown
    assert "&lt;b&gt;x&lt;/b&gt; 2, &lt;b&gt;y&lt;/b&gt; 2" in shown
    assert "<b>x" not in shown
    assert "<th style='text-align:left'>groups</th><td style='text-align:left'>4</td>" in shown


@pytest.mark.parametrize("distance", ["plain", "diffused"])
def test_embeddings_are_the_stored_ones_in_order(tmp_path: Path, distance: str) -> None:
    index = histo_index.open(build_index(tmp_path, distance))
    assert index.manifest.distance_kind == distance
    found = index.embeddings()
    assert found.dtype == np.float32
    assert found.tolist() == STORED.tolist()
    assert index.embeddings([119, 0, 60]).tolist() == STORED[[119, 0, 60]].tolist()
    assert index.embeddings(["s1/001.png", "000"]).tolist() == STORED[[1, 0]].tolist()
    mask = np.arange(N) % 50 == 0
    assert index.embeddings(mask).tolist() == STORED[mask].tolist()
    assert index.embeddings([]).shape == (0, D)


@pytest.mark.parametrize("distance", ["plain", "diffused"])
def test_vectors_give_the_distances_of_pairs(tmp_path: Path, distance: str) -> None:
    index = histo_index.open(build_index(tmp_path, distance))
    vectors = index.vectors([3, 7])
    assert vectors.shape == (2, index.manifest.vector_size)
    assert 2 - 2 * float(vectors[0] @ vectors[1]) == pytest.approx(
        index.pair(NAMES[3], NAMES[7], threshold=1).distance, abs=2e-3
    )


def test_table_has_the_requested_columns(index: histo_index.Index) -> None:
    assert index.table().column_names == [
        "image_id", "path", "sha256", "width", "height", "note", "label", "patient",
    ]  # fmt: skip
    table = index.table(["label", "embedding", "image_id"])
    assert table.column_names == ["label", "embedding", "image_id"]
    assert table["embedding"].type == pa.list_(pa.float32(), D)
    assert table["embedding"][7].as_py() == STORED[7].tolist()
    assert table["image_id"].to_pylist() == NAMES


def test_table_of_columns_reads_no_shard(index: histo_index.Index) -> None:
    for shard in index.manifest.shards:
        (index.opened.folder / shard.file.path).unlink()
    assert index.table(["label"])["label"].to_pylist() == ["abc"[n % 3] for n in range(N)]
    assert len(list(index)) == N


def test_removed_tiles_have_no_row_anywhere(tmp_path: Path) -> None:
    path = build_index(tmp_path)
    histo_index.open(path).remove(names=np.array(["s0/000.png", "s1/001.png"]))
    index = histo_index.open(path)
    kept = NAMES[2:]
    assert list(index) == index.table()["image_id"].to_pylist() == kept
    assert index.embeddings().tolist() == STORED[2:].tolist()
    assert index.vectors([0]).tolist() == STORED[[2]].tolist()
    assert len(index) == N - 2
    with pytest.raises(InputError, match=r"row 118: no such tile; expected 0 to 117"):
        index.embeddings([118])
    with pytest.raises(InputError, match="rows of type float64; expected whole numbers, a mask"):
        index.embeddings([0.5])
    assert index.embeddings([]).shape == (0, STORED.shape[1])
    with pytest.raises(InputError, match="a mask of 120 values; the index has 118 tiles"):
        index.embeddings(np.ones(N, bool))
    with pytest.raises(InputError, match=r"s0/000.png: not in the index; pass an image id"):
        index.embeddings(["s0/000.png"])


def test_private_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    path, encoder = build_numbered(
        tmp_path, VECTORS, NAMES[:3], columns=",patient", rows=[",A"] * 3
    )
    private = PrivateColumns(add=["patient"])
    build(BuildConfig(sources=[], output=path, private=private), encoder)
    index = histo_index.open(path)
    assert "patient" not in index.table().column_names
    with pytest.raises(InputError, match="column patient is private; pass --private"):
        index.table(["patient"])
    with pytest.raises(InputError, match="lable: no such column; the index has image_id, path"):
        index.table(["lable"])


def test_closed_index_refuses_queries_and_keeps_its_arrays(index: histo_index.Index) -> None:
    with index as same:
        assert same is index
        table, vectors = index.table(), index.vectors()
    assert table["image_id"][5].as_py() == NAMES[5]
    assert vectors.tolist() == STORED.tolist()
    assert repr(index).endswith("tiles.hx: closed>")
    for use in (len, list, lambda i: i.pair(NAMES[0], NAMES[1]), copy.copy):
        with pytest.raises(InputError, match=r"tiles.hx: this index was closed; open it again"):
            use(index)
    index.close()


def test_embeddings_of_a_replaced_generation_name_the_remedy(tmp_path: Path) -> None:
    path = build_index(tmp_path, "diffused")
    index = histo_index.open(path)
    histo_index.open(path).remove(names=[NAMES[0]])
    histo_index.compact(path)
    with pytest.raises(IndexFormatError, match=r"rebuilt since it was opened; open it again"):
        index.embeddings()
