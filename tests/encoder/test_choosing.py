"""Which encoder a build opens, and with which limits and precision."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from histo_index.api.encoders import encoder_for, published_threshold
from histo_index.encoder.decode.image_file import DEFAULT_MAX_PIXELS, DecodeLimits
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import EncoderFolder, bundled_encoder
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.format.encoder_card import ThresholdRecord
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import FittedDistance


def build_with(encoder: Encoder, tiles: list[Path], output: Path) -> Path:
    build(BuildConfig(sources=tiles[:2], output=output), encoder)
    return output


@pytest.fixture
def index(untrained: EncoderFolder, tile_files: list[Path], tmp_path: Path) -> Path:
    """An index with its own pixel limit."""
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


def test_a_threshold_published_since_an_index_was_made_counts_for_the_same_encoder_alone(
    index: Path,
) -> None:
    config = json.loads((bundled_encoder() / "config.json").read_bytes())
    known = ThresholdRecord(value=0.3, origin="x")
    card = replace(
        read_manifest(index).encoder,
        fingerprint=config["fingerprint"],
        threshold=known,
        diffused_threshold=None,
    )
    fitted = FittedDistance(name="diffused", tiles=2, fitted_on=2, size=8)
    old = replace(read_manifest(index), encoder=card, distance=fitted)
    assert published_threshold(old) == ThresholdRecord(**config["diffused_threshold"])
    # What the index knows stays.
    assert published_threshold(replace(old, distance=None)) == known
    other = replace(old, encoder=replace(card, fingerprint="f" * 32))
    assert published_threshold(other) is None
