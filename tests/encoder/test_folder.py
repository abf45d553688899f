"""The encoder folder: what goes in comes out, and anything damaged is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histo_index.encoder import folder as encoder_folder
from histo_index.encoder.config import EncoderConfig, PublishedThreshold
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import (
    BUNDLED,
    bundled_encoder,
    compute_fingerprint,
    config_checksum,
    load_encoder,
    save_encoder,
)
from histo_index.encoder.weights_file import Weights, pack_weights, unpack_weights
from histo_index.errors import IndexFormatError, InputError
from histo_index.files import publish_bytes

CONFIG = EncoderConfig(
    architecture="resnet18",
    preprocessing=Preprocessing(resize_px=80, crop_px=64, mean=(0.1, 0.2, 0.3)),
    training={"method": "byol", "epochs": 3, "data": {"name": "tiles", "licence": "CC0"}},
    mpp=0.5,
    threshold=PublishedThreshold(value=0.705, origin="the reference method"),
)


def small_weights(kind: Any = np.float32) -> Weights:
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.normal(size=(2, 3, 3, 3)).astype(kind),
        "bn1.bias": rng.normal(size=2).astype(kind),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_encoder(tmp_path / "encoder", CONFIG, small_weights())
    return tmp_path / "encoder"


def refusal(folder: Path) -> str:
    with pytest.raises(IndexFormatError) as caught:
        load_encoder(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def edit(folder: Path, **changes: object) -> None:
    """Change the config as a person with an editor would."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_saved_document_is_read_back(tmp_path: Path, kind: Any) -> None:
    weights = small_weights(kind)
    fingerprint = save_encoder(tmp_path / "encoder", CONFIG, weights)
    encoder = load_encoder(tmp_path / "encoder")
    assert encoder.config == CONFIG
    assert encoder.config.is_trained
    assert encoder.path == tmp_path / "encoder"
    assert encoder.fingerprint == fingerprint == compute_fingerprint(CONFIG, weights)
    assert encoder.weights.keys() == weights.keys()
    for name, array in encoder.weights.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, weights[name].astype(np.float32))


def test_only_two_files_are_left_with_ordinary_permissions(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    ordinary = saved.parent / "ordinary"
    ordinary.touch()
    for path in saved.iterdir():
        assert path.stat().st_mode == ordinary.stat().st_mode


def test_the_fingerprint_changes_with_whatever_decides_the_numbers() -> None:
    weights = small_weights()
    nudged = {name: array.copy() for name, array in weights.items()}
    nudged["bn1.bias"][1] = np.nextafter(nudged["bn1.bias"][1], np.float32(9))
    renamed = {name.replace("bn1", "bn2"): array for name, array in weights.items()}
    reshaped = weights | {"conv1.weight": weights["conv1.weight"].reshape(2, 27, 1, 1)}
    spec = CONFIG.preprocessing
    fingerprints = [
        compute_fingerprint(CONFIG, weights),
        compute_fingerprint(CONFIG, nudged),
        compute_fingerprint(CONFIG, renamed),
        compute_fingerprint(CONFIG, reshaped),
        compute_fingerprint(CONFIG, small_weights(np.float16)),
        compute_fingerprint(replace(CONFIG, preprocessing=replace(spec, resize_px=81)), weights),
        compute_fingerprint(replace(CONFIG, preprocessing=replace(spec, crop_px=63)), weights),
        compute_fingerprint(
            replace(CONFIG, preprocessing=replace(spec, mean=(0.1, 0.2, 0))), weights
        ),
        compute_fingerprint(
            replace(CONFIG, preprocessing=replace(spec, std=(0.1, 0.2, 1))), weights
        ),
        compute_fingerprint(replace(CONFIG, architecture="resnext50_32x4d"), weights),
        compute_fingerprint(replace(CONFIG, pooling="covariance"), weights),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert all(len(value) == 32 for value in fingerprints)


def test_fingerprint_ignores_fields_that_change_no_embedding() -> None:
    weights = small_weights()
    backwards = dict(reversed(weights.items()))
    strided = {name: np.asfortranarray(array) for name, array in weights.items()}
    same = [
        compute_fingerprint(CONFIG, weights),
        compute_fingerprint(CONFIG, backwards),
        compute_fingerprint(CONFIG, strided),
        compute_fingerprint(replace(CONFIG, threshold=None, mpp=None), weights),
        compute_fingerprint(replace(CONFIG, training={"method": "none"}), weights),
    ]
    assert len(set(same)) == 1


def test_any_flipped_bit_of_the_weights_is_refused_with_both_fingerprints(saved: Path) -> None:
    path = saved / "model.safetensors"
    data, intact = path.read_bytes(), load_encoder(saved)
    messages = []
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        messages.append(refusal(saved))
        assert messages[-1].startswith(f"{path}: ")
    # The last bytes are weights, whose only guard is the fingerprint.
    found, expected = messages[-1].split("fingerprint ")[1].split("; ")[0].split(", expected ")
    assert expected == intact.fingerprint
    assert len(found) == 32
    assert found != expected


def test_any_flipped_bit_of_the_config_is_refused(saved: Path) -> None:
    path = saved / "config.json"
    data, intact = path.read_bytes(), load_encoder(saved)
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        path.write_bytes(changed)
        assert refusal(saved).startswith(f"{path}: ")
    path.write_bytes(data)
    assert load_encoder(saved).config == intact.config


def test_an_edited_threshold_is_refused_with_both_checksums(saved: Path) -> None:
    stored = json.loads((saved / "config.json").read_text())["checksum"]
    edit(saved, threshold={"value": 3.0, "origin": "a person with an editor"})
    message = refusal(saved)
    assert message.startswith(f"{saved}/config.json: damaged: checksum ")
    assert message.endswith(f", expected {stored}; restore the file")


def test_weights_of_another_encoder_are_refused(saved: Path, tmp_path: Path) -> None:
    other = small_weights()
    other["bn1.bias"] += 1
    theirs = save_encoder(tmp_path / "other", CONFIG, other)
    (tmp_path / "other/model.safetensors").replace(saved / "model.safetensors")
    assert refusal(saved) == (
        f"{saved}/model.safetensors: damaged: fingerprint {theirs}, "
        f"expected {compute_fingerprint(CONFIG, small_weights())}; restore the file"
    )


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, 300])
def test_truncated_weights_are_refused(saved: Path, length: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert refusal(saved).startswith(f"{path}: cannot be read (")


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_truncated_config_is_refused(saved: Path, length: int) -> None:
    path = saved / "config.json"
    path.write_bytes(path.read_bytes()[:length])
    assert refusal(saved).startswith(f"{path}: damaged (")


def test_a_newer_version_asks_for_an_upgrade(saved: Path) -> None:
    edit(saved, format_version=2)
    assert refusal(saved) == (
        f"{saved}/config.json: encoder format 2, this release reads 1; upgrade histo-index"
    )


@pytest.mark.parametrize("field", ["pooling", "threshold", "diffused_threshold", "mpp"])
def test_a_description_without_a_field_is_refused(saved: Path, field: str) -> None:
    path = saved / "config.json"
    document = json.loads(path.read_text())
    del document[field], document["checksum"]
    document["checksum"] = config_checksum(document)
    path.write_text(json.dumps(document))
    words = f"{path}: not a usable encoder description (KeyError('{field}')"
    assert refusal(saved).startswith(words)


@pytest.mark.parametrize(
    ("architecture", "pooling", "size"),
    [
        ("resnet18", "mean", 512),
        ("resnext50_32x4d", "mean", 2048),
        ("resnet18", "covariance", 1536),
        ("resnext101_32x8d", "covariance", 1536),
    ],
)
def test_the_pooling_decides_the_size(architecture: str, pooling: str, size: int) -> None:
    config = replace(CONFIG, architecture=architecture, pooling=pooling)
    assert config.embedding_size == size


@pytest.mark.parametrize("version", [0, None, "1", [1]])
def test_an_impossible_version_is_damage(saved: Path, version: object) -> None:
    edit(saved, format_version=version)
    assert refusal(saved).startswith(f"{saved}/config.json: damaged: ")


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"format": "something else"}'])
def test_another_json_file_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    assert refusal(saved) == f"{saved}/config.json: not an encoder's config.json"


def test_missing_file_is_named(saved: Path, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == (
        f"{tmp_path}/none/config.json: cannot be read (No such file or directory); pass a folder "
        "made by `histo-index encoder`"
    )
    (saved / "model.safetensors").unlink()
    assert refusal(saved).startswith(f"{saved}/model.safetensors: cannot be read (")


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "vgg16"},
        {"pooling": "max"},
        {"mpp": -1},
        {"threshold": {"value": 4.1, "origin": ""}},
        {"threshold": {"value": 1.0}},
        {"preprocessing": {"resize_px": 1, "crop_px": 2}},
        {"preprocessing": {"unknown": 1}},
        {"training": ["byol"]},
    ],
)
def test_an_impossible_description_is_refused(saved: Path, changes: dict[str, object]) -> None:
    path = saved / "config.json"
    document = json.loads(path.read_text()) | changes
    del document["checksum"]
    document["checksum"] = config_checksum(document)
    path.write_text(json.dumps(document))
    assert refusal(saved).startswith(f"{path}: not a usable encoder description (")


@pytest.mark.parametrize("value", [-0.1, 4.1, float("nan")])
def test_a_threshold_that_is_no_distance_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"is not a distance; expected 0 to 4"):
        PublishedThreshold(value=value, origin="x")


@pytest.mark.parametrize("mpp", [0.0, -0.5, float("nan"), float("inf")])
def test_an_mpp_that_is_no_length_is_refused(mpp: float) -> None:
    with pytest.raises(InputError, match=r"expected microns per pixel above 0"):
        replace(CONFIG, mpp=mpp)


def test_nothing_is_overwritten_without_the_option(saved: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(InputError) as caught:
        save_encoder(saved, CONFIG, small_weights(np.float16))
    assert str(caught.value) == f"{saved} exists already; pass another folder or --overwrite"
    assert {path: path.read_bytes() for path in saved.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        save_encoder(tmp_path / "file", CONFIG, small_weights())


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_encoder(tmp_path / "empty", CONFIG, small_weights())
    assert load_encoder(tmp_path / "empty").config == CONFIG


def test_overwriting_replaces_every_file(saved: Path) -> None:
    other = small_weights(np.float16)
    fingerprint = save_encoder(saved, replace(CONFIG, mpp=0.25), other, overwrite=True)
    encoder = load_encoder(saved)
    assert encoder.fingerprint == fingerprint == compute_fingerprint(CONFIG, other)
    assert encoder.config.mpp == 0.25
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("config", [None, "{}", "[]", "no JSON"])
def test_only_an_encoder_is_overwritten(tmp_path: Path, config: str | None) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "model.safetensors").write_text("mine")
    if config is not None:
        (folder / "config.json").write_text(config)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError) as caught:
        save_encoder(folder, CONFIG, small_weights(), overwrite=True)
    assert str(caught.value) == (
        f"{folder} holds other files and no encoder, which alone is overwritten; "
        "pass another folder"
    )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(InputError, match="holds other files"):
        save_encoder(folder / "model.safetensors", CONFIG, small_weights(), overwrite=True)


def test_overwriting_takes_an_empty_folder(tmp_path: Path) -> None:
    save_encoder(tmp_path, CONFIG, small_weights(), overwrite=True)
    assert load_encoder(tmp_path).config == CONFIG


def test_killed_before_the_config_there_is_no_encoder_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_at_config(path: Path, data: bytes) -> None:
        if path.name == "config.json":
            raise KeyboardInterrupt
        publish_bytes(path, data)

    monkeypatch.setattr(encoder_folder, "publish_bytes", die_at_config)
    with pytest.raises(KeyboardInterrupt):
        save_encoder(tmp_path / "encoder", CONFIG, small_weights())
    assert [path.name for path in (tmp_path / "encoder").iterdir()] == ["model.safetensors"]
    assert refusal(tmp_path / "encoder").startswith(f"{tmp_path}/encoder/config.json: cannot be")


def test_bundled_encoder_records_training_data_and_threshold() -> None:
    config = load_encoder(bundled_encoder()).config
    assert config.training["method"] == "distillation"
    assert config.training["teacher"]["tiles"] == config.training["data"]["seen"] == 8332
    assert config.training["data"]["licence"]
    assert config.threshold is not None
    assert (BUNDLED / "model.safetensors").stat().st_size < 60e6


def test_the_bundled_encoder_keeps_its_fingerprint_in_format_1() -> None:
    assert json.loads((BUNDLED / "config.json").read_bytes())["format_version"] == 1
    assert load_encoder(BUNDLED).fingerprint == "efa6020a0bf9eca456a8a48153ff69de"


def test_package_without_its_encoder_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encoder_folder, "BUNDLED", tmp_path)
    with pytest.raises(InputError, match="this package has no encoder; pass --encoder DIR"):
        bundled_encoder()


def test_weights_stored_channels_last_come_back_as_they_are() -> None:
    straight = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    turned = np.ascontiguousarray(straight.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    found = unpack_weights(pack_weights({"conv1.weight": turned}))
    np.testing.assert_array_equal(found["conv1.weight"], straight)
