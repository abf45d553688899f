"""An imported encoder computes what it computed at import, on every runtime, or is refused."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import histo_index
from histo_index.api.encoder_table.look import look_into
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder, read_config
from histo_index.encoder.importing.child import ImportLimits, run_in_child
from histo_index.encoder.runtime.foreign.self_test import render_self_test
from histo_index.errors import HistoIndexError
from tests.encoder.importing.conftest import SIDE, WriteOnnx, write_onnx
from tests.promises.conftest import Tell, Tries

__all__ = ["write_onnx"]

HALF: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.2)}
TILES = render_self_test(SIDE)


@pytest.fixture
def imported(write_onnx: WriteOnnx, tmp_path: Path) -> Path:
    """An encoder that was read in the limited child process."""
    options = histo_index.ImportOptions(features="map:stage,active", **HALF)
    histo_index.import_encoder(f"onnx:{write_onnx()}", tmp_path / "encoder", options)
    return tmp_path / "encoder"


def test_an_imported_encoder_keeps_its_embeddings(
    imported: Path, tmp_path: Path, tries: Tries, tell: Tell
) -> None:
    config, fingerprint = read_config(imported)
    assert config.foreign is not None
    found = look_into(imported, verify=True).agreement
    assert found.keys() == {f"{_name(imported)}, {name}" for name in config.foreign.cosines}
    assert min(found.values()) > 0.99
    # The same in any batch and any index.
    encoder = Encoder(load_encoder(imported), device="cpu", precision="float32")
    expected = encoder.encode_pixels(list(TILES))
    dice, rounds = Random(32), tries(10, 300)
    for _ in range(rounds):
        rows = [dice.randrange(5) for _ in range(dice.randrange(1, 12))]
        np.testing.assert_array_equal(encoder.encode_pixels(list(TILES[rows])), expected[rows])
    for number, tile in enumerate(TILES):
        Image.fromarray(tile).save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(5)]
    histo_index.build(files, tmp_path / "t.hx", encoder=imported, precision="float32")
    index = histo_index.open(tmp_path / "t.hx", device="cpu")
    assert index.manifest.fingerprint == fingerprint
    stored = load_encoder(tmp_path / "t.hx" / "encoder")
    assert stored.fingerprint == fingerprint
    distances = [[index.pair(f"{a}.png", f"{b}.png").distance for b in range(5)] for a in range(5)]
    exact = 2 - 2 * expected.astype(np.float64) @ expected.T.astype(np.float64)
    np.testing.assert_allclose(distances, exact, atol=2e-3)
    tell(f"{rounds} random batches on {len(found)} runtimes", "equal to those of the import")


def _name(folder: Path) -> str:
    return Encoder(load_encoder(folder), device="cpu").describe()["name"]


def test_an_onnx_file_of_absurd_shapes_ends_in_bounded_memory(
    write_onnx: WriteOnnx, tell: Tell
) -> None:
    def grow(model: Any) -> None:
        shape = helper.make_tensor("shape", TensorProto.INT64, [2], [10**6, 10**6])
        graph = model.graph
        graph.node.insert(0, helper.make_node("ConstantOfShape", ["wide"], ["huge"]))
        graph.node.insert(1, helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0))
        graph.node.append(helper.make_node("Add", ["features", "most"], ["grown"]))
        shape.name = "wide"
        graph.initializer.append(shape)
        graph.output[0].name = "grown"

    path = write_onnx(change=grow)
    limits = ImportLimits(spare_bytes=4 * 2**30, cpu_s=60)
    request = '{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}'
    with pytest.raises(HistoIndexError) as caught:
        run_in_child("onnx", path, [request], limits=limits)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    refusals = ("onnx:tiny: onnxruntime cannot run it", "the process that read it died")
    assert any(refusal in message for refusal in refusals)
    tell("an ONNX file that asks for 4 TB", "refused in one line")
