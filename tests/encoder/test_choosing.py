"""Which encoder a build opens, and with which limits and precision."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from histo_index.choosing import encoder_for, own_encoder, published_threshold
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import EncoderFolder, bundled_encoder
from histo_index.encoder.images import DEFAULT_MAX_PIXELS, DecodeLimits
from histo_index.encoder.making import quantize_encoder
from histo_index.errors import MismatchError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.manifest import read_manifest
from tests.encoder.conftest import MakeEncoder


def build_with(encoder: Encoder, tiles: list[Path], output: Path) -> Path:
    build(BuildConfig(sources=tiles[:2], output=output), encoder)
    return output


@pytest.fixture
def index(untrained: EncoderFolder, tile_files: list[Path], tmp_path: Path) -> Path:
    """An index with a pixel limit of its own."""
    options: dict[str, Any] = {"device": "cpu", "limits": DecodeLimits(max_pixels=5000)}
    encoder = encoder_for(tmp_path / "a.hx", untrained.path, **options)
    return build_with(encoder, tile_files, tmp_path / "a.hx")


def test_an_index_keeps_its_own_pixel_limit(index: Path, untrained: EncoderFolder) -> None:
    for given in (None, untrained.path):
        assert encoder_for(index, given, limits=None).max_pixels == 5000
        assert encoder_for(index, given).max_pixels == 5000
        assert encoder_for(index, given, limits=DecodeLimits(max_pixels=7)).max_pixels == 7
    new = encoder_for(index.with_name("new.hx"), untrained.path, limits=None)
    assert new.max_pixels == DEFAULT_MAX_PIXELS


def test_another_precision_than_the_indexs_is_refused_with_a_remedy(
    index: Path, make_encoder: MakeEncoder, tile_files: list[Path], tmp_path: Path
) -> None:
    folder = make_encoder()
    quantize_encoder(folder.path, tile_files[:2])
    new = tmp_path / "i8.hx"
    small = build_with(encoder_for(new, folder.path, precision="int8"), tile_files, new)
    assert json.loads((small / "manifest.json").read_text())["encoder"]["is_int8"]
    remedy = "built in int8; leave out --precision, or build into a new index"
    for precision in ("float32", "bfloat16"):
        with pytest.raises(MismatchError) as caught:
            encoder_for(small, None, precision=precision)
        assert str(caught.value) == f"{small} was {remedy}"
    with pytest.raises(MismatchError) as caught:
        encoder_for(index, None, precision="int8")
    assert str(caught.value) == f"{index} was not {remedy}"
    for precision in ("auto", "int8"):
        encoder = own_encoder(small, read_manifest(small), precision=precision)
        assert encoder.fingerprint == read_manifest(small).fingerprint
    assert encoder_for(index, None, precision="float32").card() == read_manifest(index).encoder


def test_a_threshold_published_since_an_index_was_made_counts_for_the_same_encoder_alone(
    index: Path,
) -> None:
    config = json.loads((bundled_encoder() / "config.json").read_bytes())
    old = replace(
        read_manifest(index),
        encoder={"fingerprint": config["fingerprint"], "threshold": {"value": 0.3, "origin": "x"}},
        distance={"name": "diffused"},
    )
    assert published_threshold(old) == config["diffused_threshold"]
    assert (
        published_threshold(replace(old, distance={"name": "whitened"}))
        == (config["whitened_threshold"])
    )
    # What the index knows stays.
    assert published_threshold(replace(old, distance={"name": "plain"})) == old.encoder["threshold"]
    other = replace(old, encoder={**old.encoder, "fingerprint": "f" * 32})
    assert published_threshold(other) is None
