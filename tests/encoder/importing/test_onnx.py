"""Encoders from ONNX files: what they compute, and what is refused in one line."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from histo_index.api.encoder_table.look import look_into
from histo_index.encoder.baselines import baseline_vectors
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder, read_config, write_encoder
from histo_index.encoder.foreign import pack_embeddings
from histo_index.encoder.runtime.foreign.self_test import render_self_test
from histo_index.encoder.runtime.reference import CovarianceSketch
from histo_index.encoder.training.byol import start_from
from histo_index.errors import HistoIndexError, InputError, MismatchError
from tests.encoder.importing.conftest import SIDE, ImportHere, WriteOnnx, kernel_of

HALF: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.2)}
TILES = render_self_test(SIDE)


def stage_by_hand(path: Path, *, normalised: bool = True) -> torch.Tensor:
    """The convolution of the tiny network, by torch."""
    pixels = TILES.astype(np.float32)
    if normalised:
        pixels = (pixels / 255 - np.array(HALF["mean"])) / np.array(HALF["std"])
    images = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    return torch.nn.functional.conv2d(images, torch.from_numpy(kernel_of(path).copy()), stride=4)


def unit(rows: torch.Tensor) -> Any:
    return torch.nn.functional.normalize(rows.double(), dim=1).float().numpy()


def test_embeddings_are_those_of_the_network(
    write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    path = write_onnx()
    encoder = import_here(f"onnx:{path}", licence="Apache-2.0", mpps=(0.5, 1.0), **HALF)
    expected = unit(stage_by_hand(path).relu().mean((2, 3)))
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-5)
    config = encoder.config
    assert config.foreign is not None
    assert (config.architecture, config.pooling) == ("onnx:tiny", "features")
    assert (config.embedding_size, config.mpp, config.foreign.mpps) == (8, 0.5, (0.5, 1.0))
    assert config.foreign.licence == "Apache-2.0"
    assert config.foreign.arguments == {"layout": "NCHW", "type": "float32"}
    assert config.training == {"method": "imported", "source": "onnx", "checkpoint": "tiny.onnx"}
    assert config.foreign.cosines["float32"] > 0.99999
    np.testing.assert_allclose(config.foreign.test_embeddings, expected, atol=1e-5)
    assert sorted(file.name for file in encoder.folder.iterdir()) == ["config.json", "model.onnx"]


def test_bytes_channels_last_are_not_normalised(
    write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    path = write_onnx(shape=("n", SIDE, SIDE, 3), kind=TensorProto.UINT8)
    encoder = import_here(f"onnx:{path}")
    expected = unit(stage_by_hand(path, normalised=False).relu().mean((2, 3)))
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-5)


def test_an_inner_stage_is_pooled_as_covariances(
    write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    path = write_onnx()
    encoder = import_here(f"onnx:{path}", features="map:stage,active", **HALF)
    parts = []
    for x in (stage_by_hand(path), stage_by_hand(path).relu()):
        sketch = CovarianceSketch(8)(x - x.mean((2, 3), keepdim=True))
        parts.append(torch.nn.functional.normalize(sketch, dim=1))
    found = encoder.encode_pixels(list(TILES))
    np.testing.assert_allclose(found, unit(torch.cat(parts, 1)), atol=1e-5)
    # What the stages do not need is left out of the folder.
    kept = onnx.load(encoder.folder / "model.onnx").graph
    assert [node.op_type for node in kept.node] == ["Cast", "Identity", "Conv", "Relu"]
    assert [output.name for output in kept.output] == ["stage", "active"]


@pytest.mark.parametrize("features", ["mean:stage", "cls:tokens", "mean:tokens", "cls+mean:tokens"])
def test_openvino_pools_as_the_reference(
    features: str, write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    fast = import_here(f"onnx:{write_onnx()}", features=features, **HALF)
    slow = Encoder(load_encoder(fast.folder), device="reference")
    assert fast.embedding_size == (16 if "+" in features else 8)
    np.testing.assert_allclose(
        fast.encode_pixels(list(TILES)), slow.encode_pixels(list(TILES)), atol=1e-5
    )
    assert slow.describe()["name"].startswith("onnxruntime ")


def test_the_size_may_be_left_to_the_user(write_onnx: WriteOnnx, import_here: ImportHere) -> None:
    path = write_onnx(shape=("n", 3, "h", "w"))
    with pytest.raises(InputError, match=r"tiny\.onnx: its input has no fixed size; pass --crop"):
        import_here(f"onnx:{path}", **HALF)
    spec = import_here(f"onnx:{path}", crop_px=48, resize_px=64, **HALF).config.preprocessing
    assert (spec.crop_px, spec.resize_px) == (48, 64)


def test_a_gpu_is_refused(
    write_onnx: WriteOnnx, import_here: ImportHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = import_here(f"onnx:{write_onnx()}", **HALF).folder
    monkeypatch.setattr("histo_index.encoder.runtime.choose.has_cuda", lambda: True)
    encoder = Encoder(load_encoder(folder), device="cuda")
    with pytest.raises(InputError, match=r"^onnx:tiny runs on CPUs only; pass --device cpu$"):
        encoder.encode_pixels(list(TILES))


def test_another_byte_of_the_file_is_damage(write_onnx: WriteOnnx, import_here: ImportHere) -> None:
    folder = import_here(f"onnx:{write_onnx()}", **HALF).folder
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-40] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(HistoIndexError, match=r"model\.onnx: damaged: fingerprint "):
        load_encoder(folder)


def external(place: str) -> Callable[[Any], None]:
    """Move the kernel to another file."""

    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "864")):
            tensor.external_data.add(key=key, value=value)

    return change


def custom_operator(model: Any) -> None:
    model.graph.node[3].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def hard_coded_batch(model: Any) -> None:
    model.graph.initializer[1].raw_data = np.array([4, 8, -1], np.int64).tobytes()


def infinite(model: Any) -> None:
    model.graph.initializer[0].raw_data = np.full(216, np.inf, np.float32).tobytes()


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two outputs": (
        {"outputs": ("features", "stage")}, HALF,
        "2 outputs (features, stage); choose one by --features NAME",
    ),
    "no such output": (
        {}, {"features": "map:layer9", **HALF},
        "no output layer9; its outputs are features, and any inner tensor can be named too",
    ),
    "a map as it is": (
        {}, {"features": "stage", **HALF}, "features output: the network gives [1, 8, 8, 8]; ",
    ),
    "no map": (
        {}, {"features": "map:features", **HALF}, "expected a map [B, C, H, W], found [1, 8]; ",
    ),
    "no preprocessing": (
        {}, {}, "an ONNX file does not hold how pixels are normalised; pass --mean and --std ",
    ),
    "no image": (
        {"shape": ("n", 4, SIDE, SIDE)}, HALF, "expected an RGB image [N, 3, H, W] or [N, H, W, 3]",
    ),
    "no square": ({"shape": ("n", 3, 32, 48)}, HALF, "[32, 48] pixels; expected squares of 32"),
    "custom operator": (
        {"change": custom_operator}, HALF,
        "operator com.example.Relu is not part of ONNX; export with standard operators alone",
    ),
    "a batch of four": (
        {"change": hard_coded_batch}, {"features": "mean:tokens", **HALF},
        "export it with a dynamic batch, or a batch of 1",
    ),
    "not finite": (
        {"change": infinite}, HALF, "onnx:tiny: embeddings that are not finite or 0, of length ",
    ),
    "tensors above": (
        {"change": external("../kernel.bin")}, HALF,
        "tensor kernel lies in '../kernel.bin'; expected a plain file in the same folder",
    ),
    "tensors behind a link": (
        {"change": external("link.bin")}, HALF,
        "tensor kernel lies in 'link.bin'; expected a plain file in the same folder",
    ),
    "tensors left behind": (
        {"change": external("none.bin")}, HALF, "none.bin: no such file; tiny.onnx keeps its ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_one_line(
    case: str, write_onnx: WriteOnnx, import_here: ImportHere, tmp_path: Path
) -> None:
    written, options, expected = REFUSED[case]
    (tmp_path / "outside").write_bytes(bytes(864))
    (tmp_path / "link.bin").symlink_to(tmp_path / "outside")
    path = write_onnx(**written)
    with pytest.raises(HistoIndexError, match=re.escape(expected)) as caught:
        import_here(f"onnx:{path}", **options)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "encoder").exists()


def test_tensors_beside_the_file_are_taken_in(
    write_onnx: WriteOnnx, import_here: ImportHere, tmp_path: Path
) -> None:
    whole = write_onnx("whole.onnx")
    (tmp_path / "kernel.bin").write_bytes(kernel_of(whole).tobytes())
    path = write_onnx(change=external("kernel.bin"))
    encoder = import_here(f"onnx:{path}", **HALF)
    (tmp_path / "kernel.bin").unlink()
    expected = unit(stage_by_hand(whole).relu().mean((2, 3)))
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-5)


def test_another_file_is_no_onnx(import_here: ImportHere, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x80\x02}q\x00." * 9)
    with pytest.raises(InputError, match=r"a\.onnx: no usable ONNX file \("):
        import_here(f"onnx:{tmp_path / 'a.onnx'}", **HALF)


def test_the_self_test_holds_on_every_runtime(
    write_onnx: WriteOnnx, import_here: ImportHere
) -> None:
    folder = import_here(f"onnx:{write_onnx()}", licence="mine", **HALF).folder
    found = look_into(folder, verify=True)
    assert found.facts["licence"] == "mine"
    assert any(name.endswith(", float32") for name in found.agreement)
    assert min(found.agreement.values()) > 0.999
    # Another result than that of the import is refused, with the figure.
    config, _ = read_config(folder)
    assert config.foreign is not None
    turned = config.foreign.test_embeddings[::-1]
    foreign = replace(config.foreign, self_test=pack_embeddings(turned), cosines={})
    weights = load_encoder(folder).weights
    write_encoder(folder, replace(config, foreign=foreign), weights)
    with pytest.raises(
        HistoIndexError, match=r"in float32: self-test tiles agree .* to a cosine of 0\.\d{5}, exp"
    ):
        look_into(folder, verify=True)
    # A build refuses it too, before it encodes anything.
    with pytest.raises(HistoIndexError, match="self-test tiles agree"):
        Encoder(load_encoder(folder), device="cpu").encode_pixels(list(TILES))


def test_a_resnext_stands_in_for_it_among_the_baselines(
    write_onnx: WriteOnnx, import_here: ImportHere, tmp_path: Path
) -> None:
    folder = import_here(f"onnx:{write_onnx()}", **HALF).folder
    for number, tile in enumerate(TILES[:2]):
        Image.fromarray(tile).save(tmp_path / f"{number}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    colours, randoms = baseline_vectors(folder, paths, device="cpu")
    assert (colours.shape, randoms.shape) == ((2, 512), (2, 2048))


def test_training_cannot_start_from_it(write_onnx: WriteOnnx, import_here: ImportHere) -> None:
    encoder = load_encoder(import_here(f"onnx:{write_onnx()}", **HALF).folder)
    nothing: Any = None
    with pytest.raises(MismatchError, match=r"is a network of another library \(onnx:tiny\), whi"):
        start_from(nothing, encoder, encoder.config)
