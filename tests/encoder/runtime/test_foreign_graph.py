"""Converted networks are kept for the next start, and never trusted more than the weights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from histo_index.arrays import Float32
from histo_index.encoder.encoder import open_encoder
from histo_index.encoder.importing.foreign import import_foreign
from histo_index.encoder.importing.options import ImportOptions
from histo_index.encoder.runtime.foreign.self_test import render_self_test
from histo_index.encoder.runtime.kept_networks import CACHE, cache_folder, trim
from tests.encoder.importing.conftest import read_here

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {
    "img_size": 28, "patch_size": 7, "embed_dim": 32, "depth": 1, "num_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    save_file(
        timm.create_model(NAME, num_classes=0, **SMALL).state_dict(), folder / "w.safetensors"
    )
    half = (0.5, 0.5, 0.5)
    options = ImportOptions(
        weights=folder / "w.safetensors", arguments=SMALL, crop_px=28, mean=half, std=half
    )
    import_foreign(f"timm:{NAME}", folder / "encoder", options, read=read_here)
    return folder / "encoder"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def embed(encoder: Path) -> Float32:
    opened = open_encoder(encoder, device="cpu", precision="float32")
    return opened.encode_pixels(list(render_self_test(28)))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_network_is_converted_once(
    encoder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, "")
    converted = embed(encoder)
    assert not cache.exists()
    monkeypatch.setenv(CACHE, str(cache))
    np.testing.assert_array_equal(embed(encoder), converted)
    (kept,) = cache.iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["checksum", "model.bin", "model.xml"]
    monkeypatch.setitem(sys.modules, "timm", None)  # nothing can be converted any more
    np.testing.assert_array_equal(embed(encoder), converted)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda kept: flip(kept / "model.bin"),
    "cut off": lambda kept: (kept / "model.bin").write_bytes(b""),
    "the graph": lambda kept: flip(kept / "model.xml"),
    "no checksum": lambda kept: (kept / "checksum").unlink(),
    "no graph": lambda kept: (kept / "model.xml").unlink(),
    "of another encoder": lambda kept: kept.rename(kept.with_name("f00d-openvino-1.0")),
}


@pytest.fixture(scope="module")
def filled(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Float32]:
    """A cache that holds the network, and what the network computes."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder))
        return folder, embed(encoder)


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_network_is_converted_again(
    case: str, encoder: Path, cache: Path, filled: tuple[Path, Float32]
) -> None:
    folder, expected = filled
    shutil.copytree(folder, cache)
    (kept,) = cache.iterdir()
    whole = (kept / "model.bin").read_bytes()
    DAMAGES[case](kept)
    np.testing.assert_array_equal(embed(encoder), expected)
    assert (kept / "model.bin").read_bytes() == whole
    assert not list(cache.glob(".tmp-*"))


def test_where_nothing_can_be_kept_the_network_is_converted_each_time(
    encoder: Path, cache: Path
) -> None:
    cache.write_text("a file in the place of the folder")
    assert np.isfinite(embed(encoder)).all()
    assert cache.is_file()


def test_a_use_is_noted(encoder: Path, cache: Path) -> None:
    embed(encoder)
    (kept,) = cache.iterdir()
    os.utime(kept / "checksum", (10**9, 10**9))
    embed(encoder)
    assert (kept / "checksum").stat().st_mtime > 10**9


def test_networks_whose_last_use_is_longest_ago_make_room(tmp_path: Path) -> None:
    names = [f"{number:032x}-openvino-2026.1.0" for number in range(4)]
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(bytes(90))
        (tmp_path / name / "checksum").write_bytes(bytes(10))
        os.utime(tmp_path / name / "checksum", (10**9 - age, 10**9 - age))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "large.bin").write_bytes(bytes(1000))
    trim(tmp_path, newest=names[2], most_bytes=300)
    # The third is new, and the fourth was not used for the longest time.
    assert {path.name for path in tmp_path.iterdir()} == {*names[:3], "own"}
    trim(tmp_path, newest=names[2], most_bytes=100)
    assert {path.name for path in tmp_path.iterdir()} == {names[2], "own"}
    trim(tmp_path, newest=names[2], most_bytes=1)
    assert (tmp_path / names[2] / "model.bin").is_file()


def test_the_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "histo-index"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "histo-index"
    monkeypatch.setenv(CACHE, "")
    assert cache_folder() is None


def test_an_onnx_network_starts_without_torch() -> None:
    """Torch takes seconds to load, and OpenVINO does not need it."""
    program = (
        "import sys, histo_index.encoder.runtime.foreign.start, "
        "histo_index.encoder.runtime.foreign.graph, histo_index.encoder.runtime.foreign.onnx_graph;"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"
