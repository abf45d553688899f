"""Encoders of timm and transformers: what they compute on each runtime, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.runtime.foreign.self_test import render_self_test
from histo_index.encoder.runtime.reference import CovarianceSketch
from histo_index.errors import HistoIndexError
from tests.encoder.importing.conftest import ImportHere

# Registers, SwiGLU and LayerScale, as UNI2-h and Virchow2 have them.
VIT: dict[str, Any] = {
    "img_size": 28, "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2, "reg_tokens": 4,
    "init_values": 0.5, "mlp_layer": "SwiGLUPacked", "act_layer": "silu", "mlp_ratio": 5.33334,
    "dynamic_img_size": True, "no_embed_class": True,
}  # fmt: skip
NAME = "vit_tiny_patch16_224"
INPUT: dict[str, Any] = {
    "input_size": [3, 28, 28], "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.5, 0.2],
    "interpolation": "bicubic", "crop_pct": 0.875, "license": "apache-2.0",
}  # fmt: skip
TILES = render_self_test(28)


@pytest.fixture(scope="module")
def vit() -> Any:
    torch.manual_seed(0)
    classes = {"mlp_layer": timm.layers.mlp.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    return timm.create_model(NAME, num_classes=0, **{**VIT, **classes}).eval()


@pytest.fixture
def vit_folder(vit: Any, tmp_path: Path) -> Path:
    """A folder as `hf download` leaves it."""
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file(vit.state_dict(), folder / "model.safetensors")
    document = {"architecture": NAME, "model_args": VIT, "pretrained_cfg": INPUT}
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def pixels(resize_px: int = 32) -> torch.Tensor:
    """The tiles as the networks get them."""
    mean, std = np.array(INPUT["mean"]), np.array(INPUT["std"])
    spec = Preprocessing(resize_px=resize_px, crop_px=28, interpolation="bicubic")
    tiles = np.stack([fit_tile(tile, spec) for tile in TILES])
    return torch.from_numpy(((tiles / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)


def unit(rows: torch.Tensor) -> Any:
    return torch.nn.functional.normalize(rows.double(), dim=1).float().numpy()


@torch.no_grad()
def expected_of(vit: Any, features: str, resize_px: int = 32) -> Any:
    tokens = vit.forward_features(pixels(resize_px))  # [5, 1 + 4 + 16, 32]
    parts = {
        "cls": [tokens[:, 0]],
        "mean": [tokens[:, 5:].mean(1)],
        "cls+mean": [tokens[:, 0], tokens[:, 5:].mean(1)],
    }
    if features in parts:
        return unit(torch.cat(parts[features], 1))
    x = vit.blocks[0](vit.patch_drop(vit._pos_embed(vit.patch_embed(pixels()))))
    grid = x[:, 5:].transpose(1, 2).reshape(5, 32, 4, 4)
    return unit(CovarianceSketch(32)(grid - grid.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize("features", ["cls", "mean", "cls+mean", "map:1"])
def test_a_vit_with_registers_and_swiglu_agrees_on_torch_and_openvino(
    features: str, vit: Any, vit_folder: Path, import_here: ImportHere
) -> None:
    fast = import_here(f"timm:{vit_folder}", features=features)
    slow = Encoder(load_encoder(fast.folder), device="reference")
    expected = expected_of(vit, features)
    np.testing.assert_allclose(slow.encode_pixels(list(TILES)), expected, atol=1e-5)
    np.testing.assert_allclose(fast.encode_pixels(list(TILES)), expected, atol=1e-4)


def test_a_folder_says_how_tiles_are_prepared(vit_folder: Path, import_here: ImportHere) -> None:
    config = import_here(f"timm:{vit_folder}").config
    assert vars(config.preprocessing) == {
        "resize_px": 32, "crop_px": 28, "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.2),
        "interpolation": "bicubic",
    }  # fmt: skip
    assert config.foreign is not None
    assert (config.architecture, config.pooling) == (f"timm:{NAME}", "cls")
    assert config.foreign.arguments == VIT
    assert config.foreign.licence == "apache-2.0"


def test_a_name_takes_its_weights_from_a_checkpoint(
    vit: Any, vit_folder: Path, import_here: ImportHere, tmp_path: Path
) -> None:
    # As Lightning and linear probes write it: a prefix, and a classifier.
    head = {"head.weight": torch.ones(3, 32), "head.bias": torch.ones(3)}
    state = {f"model.{key}": value for key, value in {**vit.state_dict(), **head}.items()}
    torch.save({"state_dict": state}, tmp_path / "weights.bin")
    options = {"crop_px": 28, "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.2)}
    encoder = import_here(
        f"timm:{NAME}", weights=tmp_path / "weights.bin", arguments=VIT, **options
    )
    expected = expected_of(vit, "cls", 28)
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-4)


def test_a_convolutional_network_is_pooled_by_its_mean(
    import_here: ImportHere, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"channels": [4, 8, 8, 8], "layers": [1, 1, 1, 1]}
    network: Any = timm.create_model("resnet18", num_classes=0, **arguments).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    encoder = import_here(
        "timm:resnet18", weights=tmp_path / "w.safetensors", arguments=arguments, crop_px=28,
        resize_px=28, mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 0.2),
    )  # fmt: skip
    assert encoder.config.pooling == "mean"
    with torch.no_grad():
        expected = unit(network.forward_features(pixels(28)).mean((2, 3)))
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-4)


HF: dict[str, Any] = {
    "image_size": 28, "patch_size": 7, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2,
}  # fmt: skip
KINDS: dict[str, tuple[Any, Any, dict[str, Any], int]] = {
    "vit": (transformers.ViTConfig, transformers.ViTModel, {"intermediate_size": 64}, 1),
    "dinov2": (
        transformers.Dinov2Config, transformers.Dinov2Model,
        {"use_swiglu_ffn": True, "layerscale_value": 0.5}, 1,
    ),
    "dinov2_with_registers": (
        transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel,
        {"num_register_tokens": 4, "layerscale_value": 0.5}, 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_transformers(kind: str, import_here: ImportHere, tmp_path: Path) -> None:
    configured, built, more, prefix = KINDS[kind]
    torch.manual_seed(0)
    network = built(configured(**HF, **more)).eval()
    network.save_pretrained(tmp_path / "net")
    prepared = {
        "image_mean": INPUT["mean"], "image_std": INPUT["std"], "resample": 3,
        "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28},
        "do_center_crop": True,
    }  # fmt: skip
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(prepared))
    encoder = import_here(f"hf:{tmp_path / 'net'}", features="cls+mean")
    assert encoder.config.architecture == f"hf:{kind}"
    spec = encoder.config.preprocessing
    assert (spec.resize_px, spec.crop_px, spec.interpolation) == (32, 28, "bicubic")
    with torch.no_grad():
        tokens = network(pixel_values=pixels()).last_hidden_state
    expected = unit(torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1))
    np.testing.assert_allclose(encoder.encode_pixels(list(TILES)), expected, atol=1e-4)


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def other_registers(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    described["model_args"]["reg_tokens"] = 2
    (folder / "config.json").write_text(json.dumps(described))


def without_input(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architecture": NAME, "model_args": VIT}))


def unknown_network(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_of_nobody"}))


def unknown_argument(folder: Path) -> None:
    document = {"architecture": NAME, "model_args": {"colour": 1}, "pretrained_cfg": INPUT}
    (folder / "config.json").write_text(json.dumps(document))


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def not_finite(folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"][3] = float("nan")
    save_file(weights, folder / "model.safetensors")


REFUSED: dict[Any, str] = {
    without_weights: "holds no model.safetensors or pytorch_model.bin; pass --weights FILE",
    other_registers: "1 of another shape ['reg_token [1, 4, 32] for [1, 2, 32]']; pass the net",
    without_input: "nothing says how tiles are prepared; pass --crop, --mean and --std (of Imag",
    unknown_network: "has no network vit_of_nobody; see timm.list_models()",
    unknown_argument: "timm cannot build vit_tiny_patch16_224 with {'colour': 1} (",
    damaged: "model.safetensors: no safetensors file (",
    not_finite: "model.safetensors: 1 weight with values that are not finite, norm.weight first",
}


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_a_folder_that_cannot_be_used_is_one_line(
    damage: Any, vit_folder: Path, import_here: ImportHere, tmp_path: Path
) -> None:
    damage(vit_folder)
    expected = REFUSED[damage]
    with pytest.raises(HistoIndexError, match=re.escape(expected)) as caught:
        import_here(f"timm:{vit_folder}")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("timm:uni", "`hf download timm/uni --local-dir uni`, copy it here, and pass timm:uni"),
        ("hf:owais/phi", "`hf download owais/phi --local-dir phi`, copy it here, and pass hf:phi"),
    ],
)
def test_what_is_missing_is_not_downloaded(source: str, line: str, import_here: ImportHere) -> None:
    with pytest.raises(HistoIndexError, match=re.escape(line)):
        import_here(source)


def test_code_in_a_folder_is_never_run(import_here: ImportHere, tmp_path: Path) -> None:
    document = {"model_type": "own", "auto_map": {"AutoModel": "modeling.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(document))
    (tmp_path / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(HistoIndexError, match="brings its own code"):
        import_here(f"hf:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_a_missing_library_is_named_with_its_extra(
    vit_folder: Path, import_here: ImportHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(
        HistoIndexError, match=r"^timm is not installed; pip install 'histo-index\[timm\]'$"
    ):
        import_here(f"timm:{vit_folder}")
