"""Weights whose licence forbids copies: an index refers to them."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histo_index
from histo_index.encoder.foreign import ForeignNetwork
from histo_index.encoder.runtime.foreign.self_test import render_self_test, require_agreement
from histo_index.errors import HistoIndexError, InputError, MismatchError
from tests.encoder.importing.conftest import SIDE, ImportHere, WriteOnnx
from tests.encoder.importing.test_onnx import HALF


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number, tile in enumerate(render_self_test(SIDE)):
        Image.fromarray(tile).save(folder / f"{number}.png")
    return folder


def test_an_index_refers_to_gated_weights_and_answers_without_them(
    write_onnx: WriteOnnx, import_here: ImportHere, tiles: Path, tmp_path: Path
) -> None:
    encoder = import_here(f"onnx:{write_onnx()}", licence="no copies", is_gated=True, **HALF)
    weights = encoder.folder / "weights" / "model.onnx"
    assert weights.is_file()
    histo_index.build(tiles, tmp_path / "t.hx", encoder=encoder.folder)
    assert [path.name for path in (tmp_path / "t.hx" / "encoder").iterdir()] == ["config.json"]
    index = histo_index.open(tmp_path / "t.hx", device="cpu")
    assert index.manifest.encoder.licence == "no copies"
    # New images find the weights where they were imported.
    new = tmp_path / "new.png"
    Image.fromarray(render_self_test(SIDE)[1, ::-1]).save(new)
    assert 0 < index.pair(new, "1.png").distance < 4
    data = bytearray(weights.read_bytes())
    data[-40] ^= 1
    weights.write_bytes(data)
    with pytest.raises(HistoIndexError, match=r"model\.onnx: damaged: fingerprint "):
        histo_index.open(tmp_path / "t.hx", device="cpu").search(new)
    shutil.rmtree(encoder.folder)
    bare = histo_index.open(tmp_path / "t.hx", device="cpu")
    assert bare.pair("0.png", "0.png").distance == pytest.approx(0, abs=1e-3)
    assert len(bare.search("2.png", k=3)[0]) == 3
    message = f"{weights}: no such file; the licence of these weights forbids copies"
    with pytest.raises(InputError, match=re.escape(message)):
        bare.search(new)


def test_other_weights_are_copied_into_the_index(
    write_onnx: WriteOnnx, import_here: ImportHere, tiles: Path, tmp_path: Path
) -> None:
    encoder = import_here(f"onnx:{write_onnx()}", **HALF)
    histo_index.build(tiles, tmp_path / "t.hx", encoder=encoder.folder)
    shutil.rmtree(encoder.folder)
    new = tmp_path / "new.png"
    Image.fromarray(render_self_test(SIDE)[1, ::-1]).save(new)
    index = histo_index.open(tmp_path / "t.hx", device="cpu")
    assert 0 < index.pair(new, "1.png").distance < 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"source": "keras"}, "unknown source keras"), ({"embedding_size": 0}, "0 numbers"),
     ({"mpps": (0.0,)}, "microns per pixel above 0")],
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, object], words: str) -> None:
    sound: dict[str, object] = {"source": "onnx", "arguments": {}, "embedding_size": 8}
    with pytest.raises(InputError, match=words):
        ForeignNetwork(**{**sound, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("cosine", [0.99899, float("nan")])
def test_a_runtime_that_does_not_agree_is_refused(cosine: float) -> None:
    require_agreement("float32", 0.999, name="vit")
    with pytest.raises(MismatchError, match=r"^vit in float32: self-test tiles agree with the ref"):
        require_agreement("float32", cosine, name="vit")


def test_stored_embeddings_are_read_as_written() -> None:
    from histo_index.encoder.foreign import lowest_cosine, pack_embeddings, unpack_embeddings

    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    read = unpack_embeddings(pack_embeddings(rows)).reshape(5, 7)
    assert lowest_cosine(rows, read) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(read, axis=1) == pytest.approx(1, abs=1e-6)
