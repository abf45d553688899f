"""An index from embeddings of another program answers about its tiles, and encodes nothing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import histo_index
from histo_index.api.info import index_facts
from histo_index.errors import HistoIndexError, ImageError, InputError, ShapeError
from histo_index.indexer.format.encoder_card import DeclaredEncoder
from histo_index.search.distance import pair_distances
from tests.vectors import unit_vectors

N, D = 130, 8
IDS = [f"t{n:03}" for n in range(N)]
ARRAY = unit_vectors(N, D)
COLUMNS = {"label": ["ab"[n % 2] for n in range(N)], "group": [f"p{n % 7}" for n in range(N)]}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> histo_index.Index:
    monkeypatch.chdir(tmp_path)
    return histo_index.from_embeddings(
        IDS, 7.5 * ARRAY, "own.hx", pd.DataFrame(COLUMNS, index=range(5, N + 5)), encoder="UNI 2"
    )


def test_ids_metadata_and_unit_embeddings_are_stored(index: histo_index.Index) -> None:
    assert list(index) == IDS
    assert index.table(["label", "group"]).to_pydict() == COLUMNS
    assert index.embeddings() == pytest.approx(ARRAY, abs=5e-4)
    assert np.linalg.norm(index.embeddings(), axis=1) == pytest.approx(1, abs=1e-3)


def test_the_manifest_keeps_the_declared_encoder(index: histo_index.Index) -> None:
    card = index.manifest.encoder
    assert card.declared == DeclaredEncoder(name="UNI 2")
    assert (card.architecture, card.embedding_size) == ("declared", D)
    assert "UNI 2, diffused distances" in repr(index)
    facts = index_facts(index.opened.folder, verify=True)
    assert facts["encoder"]["declared"] == {"name": "UNI 2", "verified": None}
    assert facts["encoder_status"] == "declared, not verified"
    assert not (index.opened.folder / "encoder").exists()


def test_answers_equal_brute_force(tmp_path: Path) -> None:
    index = histo_index.from_embeddings(IDS, ARRAY, tmp_path / "i.hx", distance="plain")
    stored = ARRAY.astype(np.float16)
    answer = index.pair("t003", "t100", threshold=1)
    assert answer.distance == float(pair_distances(stored[[3]], stored[[100]])[0])
    (near,) = index.search("t003", k=5)
    distances = pair_distances(np.repeat(stored[[3]], N, axis=0), stored)
    order = np.argsort(distances, kind="stable")
    assert [n.image_id for n in near] == [IDS[row] for row in order[1:6]]
    assert index.pairs([["t000", "t001"]]).answered == 1


def test_an_id_is_its_tile_even_where_a_file_has_its_name(index: histo_index.Index) -> None:
    Path("t003").write_text("a file of another kind")
    assert index.pair("t003", "t004", threshold=1).image_id_a == "t003"


def test_a_new_image_gets_one_clear_line(index: histo_index.Index) -> None:
    Path("new.png").write_bytes(b"any image")
    words = (
        "own.hx was made from embeddings of UNI 2 and has no encoder, so it encodes no image: "
        "ask about its own tiles, by image id, or verify an encoder with `histo-index encoder "
        "verify`"
    )
    with pytest.raises(InputError) as caught:
        index.search(np.zeros((8, 8, 3), np.uint8))
    assert str(caught.value) == words
    with pytest.raises(ImageError) as refused:
        index.search("new.png")
    assert str(refused.value) == f"new.png: {words}"
    table = index.pairs([["t000", "new.png"], ["t000", "t001"]], threshold=1).table
    assert table["message"].to_pylist() == [f"new.png: {words}", ""]
    with pytest.raises(HistoIndexError, match="`build` does not add to it; import again, or"):
        histo_index.build(".", "own.hx")


def test_it_is_calibrated_evaluated_removed_from_and_rebuilt(index: histo_index.Index) -> None:
    vectors = ARRAY + 3 * np.eye(D, dtype=np.float32)[np.arange(N) % 2]
    index = histo_index.from_embeddings(IDS, vectors, "two.hx", COLUMNS, encoder="UNI 2")
    assert index.calibrate(labels="label", group="group").threshold.value is not None
    found = index.evaluate(group="group")
    assert found.warnings[0] == (
        "colour histogram and random weights are left out: the index was made from embeddings"
    )
    assert found.index.retrieval["micro"]["accuracy@1"].value == 1
    assert found.table["contender"].to_pylist()[0] == "index"
    assert found.to_pandas().query("contender == 'majority'")["value"].notna().any()
    index.report(found, "evaluation.html")
    assert "UNI 2" in Path("evaluation.html").read_text()
    index.remove(where="\"group\" = 'p3'")
    histo_index.compact("two.hx")
    histo_index.reindex("two.hx", distance="plain")
    left = histo_index.open("two.hx")
    assert len(left) == N - 19
    assert "t003" not in left
    assert left.embeddings(["t004"]) == pytest.approx(
        vectors[[4]] / np.linalg.norm(vectors[4]), abs=1e-3
    )


@pytest.mark.parametrize(
    "array", [torch.from_numpy(ARRAY), torch.from_numpy(ARRAY).bfloat16(), ARRAY.astype(np.float64)]
)
def test_arrays_of_any_float_type_are_taken(tmp_path: Path, array: Any) -> None:
    index = histo_index.from_embeddings(pd.Series(IDS), array, tmp_path / "i.hx")
    assert index.embeddings() == pytest.approx(ARRAY, abs=4e-3)


@pytest.mark.parametrize(
    ("ids", "array", "metadata", "words"),
    [
        (IDS[:2], ARRAY[:3], None, "embeddings are float32 [3, 8]; expected floats [2, D]"),
        (IDS[:1], ARRAY[0], None, "embeddings are float32 [8]; expected floats [1, D]"),
        (IDS[:2], [[1.0, 0.0], [0.0, 0.0]], None, "embedding of t001 (row 1) has length 0;"),
        (IDS[:1], [[np.nan, 1.0]], None, "embedding of t000 (row 0) has length nan;"),
        (["a", "a"], ARRAY[:2], None, "id 'a' of row 1 is there twice"),
        ([" "], ARRAY[:1], None, "id ' ' of row 0 is empty"),
        ([], ARRAY[:0], None, "no ids; expected one for each row of the array"),
        (["a"], ARRAY[:1], {"x": [1, 2]}, "metadata: 2 rows; expected 1, one for each id"),
        (["a"], ARRAY[:1], {"path": ["p"]}, "metadata: column `path` is written by the index"),
        (["a"], ARRAY[:1], {"x": [[1]]}, "metadata: not a table of plain columns (column 'x'"),
    ],
)
def test_unusable_input_is_refused_before_anything_is_written(
    tmp_path: Path, ids: Any, array: Any, metadata: Any, words: str
) -> None:
    with pytest.raises((InputError, ShapeError)) as caught:
        histo_index.from_embeddings(ids, array, tmp_path / "i.hx", metadata)
    assert str(caught.value).startswith(words)
    assert not (tmp_path / "i.hx").exists()


def test_an_index_is_never_overwritten(index: histo_index.Index) -> None:
    with pytest.raises(InputError, match=r"own.hx holds an index already; delete the folder"):
        histo_index.from_embeddings(IDS, ARRAY, "own.hx")


def test_an_arrow_table_and_private_columns_are_taken(tmp_path: Path) -> None:
    table = pa.table({"patient": ["A", "B"], "age": [71, None]})
    path = tmp_path / "i.hx"
    histo_index.from_embeddings([1, 2], ARRAY[:2], path, table, private="patient")
    assert histo_index.open(path).table(["image_id", "age"]).to_pydict() == {
        "image_id": ["1", "2"],
        "age": [71, None],
    }
    assert histo_index.open(path, private=True).table(["patient"])["patient"][0].as_py() == "A"


def test_no_network_is_loaded(tmp_path: Path) -> None:
    before = "openvino" in sys.modules
    histo_index.from_embeddings(IDS[:3], ARRAY[:3], tmp_path / "i.hx")
    assert ("openvino" in sys.modules) == before
