"""Int8: measured ranges, the stated agreement, an identity of its own, and no use of bad ranges."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histo_index.encoder.encoder import Encoder, open_encoder
from histo_index.encoder.folder import EncoderFolder, load_encoder
from histo_index.encoder.images import Pixels
from histo_index.encoder.int8 import (
    LEAST_COSINE,
    LEAST_MEAN_COSINE,
    Ranges,
    load_ranges,
    save_ranges,
)
from histo_index.encoder.making import quantize_encoder
from histo_index.encoder.openvino_cpu import OpenVinoRuntime, measure_ranges
from histo_index.errors import IndexFormatError, InputError, MismatchError
from tests.encoder.conftest import MakeEncoder, cosines

RANGES = Ranges(
    fingerprint="f" * 32, tiles=3, limits={"conv1": (-2.0, 1.5), "layer1.0.conv1": (0.0, 3.25)}
)


@pytest.fixture(scope="module")
def quantized(
    settled: EncoderFolder, make_encoder: MakeEncoder, tile_files: list[Path]
) -> EncoderFolder:
    """The settled encoder with ranges measured on the tiles."""
    encoder = make_encoder(weights=settled.weights, training="settled")
    quantize_encoder(encoder.path, tile_files)
    return encoder


def test_int8_agrees_with_the_reference_as_stated(
    quantized: EncoderFolder, fresh_tiles: Pixels
) -> None:
    reference = Encoder(quantized, device="reference").encode_pixels(list(fresh_tiles))
    rounded = Encoder(quantized, precision="int8", device="cpu").encode_pixels(list(fresh_tiles))
    agreement = cosines(rounded, reference)
    assert agreement.min() >= LEAST_COSINE
    assert agreement.mean() >= LEAST_MEAN_COSINE
    assert not np.array_equal(rounded, reference)


def test_the_stated_agreement_is_better_than_chance(
    quantized: EncoderFolder, fresh_tiles: Pixels
) -> None:
    reference = Encoder(quantized, device="reference").encode_pixels(list(fresh_tiles))
    assert cosines(reference[:-1], reference[1:]).mean() < LEAST_COSINE


def test_ranges_are_the_mean_lowest_and_highest_values(
    settled: EncoderFolder, tiles: Pixels
) -> None:
    two = tiles[:2]
    ranges = measure_ranges(settled, two)
    spec = settled.config.preprocessing
    normalised = (two / 255 - np.array(spec.mean)) / np.array(spec.std)
    low = np.mean([image.min() for image in normalised])
    high = np.mean([image.max() for image in normalised])
    assert ranges.limits["conv1"] == pytest.approx((low, high), abs=1e-5)
    assert ranges.tiles == 2
    assert ranges.fingerprint == settled.fingerprint
    # Behind a ReLU nothing is negative; before one there are values of both signs.
    assert ranges.limits["layer1.0.conv2"][0] == 0.0
    assert ranges.limits["layer1.0.sum"][0] < 0 < ranges.limits["layer1.0.sum"][1]
    # ResNet-18: 20 convolutions, and both sides of 8 sums.
    assert len(ranges.limits) == 20 + 2 * 8


def test_the_levels_hold_zero_exactly() -> None:
    assert RANGES.edges("layer1.0.conv1") == (0.0, 3.25)
    low, high = RANGES.edges("conv1")
    step = (high - low) / 255
    assert (low, high) == (-2.0 * 128 / 127, 2.0)
    assert round(-low / step) == pytest.approx(-low / step, abs=1e-9)


def test_a_tensor_without_a_range_is_named(settled: EncoderFolder) -> None:
    with pytest.raises(MismatchError, match="lack conv1; measure them again"):
        OpenVinoRuntime(settled, precision="int8", ranges=replace(RANGES, limits={}))


def test_ranges_are_read_as_they_were_saved(tmp_path: Path) -> None:
    save_ranges(tmp_path, RANGES)
    assert load_ranges(tmp_path, RANGES.fingerprint) == RANGES
    assert load_ranges(tmp_path, RANGES.fingerprint).digest == RANGES.digest


def test_int8_has_a_fingerprint_of_its_own(quantized: EncoderFolder) -> None:
    plain, rounded = open_encoder(quantized.path), open_encoder(quantized.path, precision="int8")
    assert plain.fingerprint == quantized.fingerprint
    assert rounded.fingerprint == load_ranges(quantized.path, quantized.fingerprint).digest
    assert rounded.fingerprint != plain.fingerprint
    assert (plain.card()["is_int8"], rounded.card()["is_int8"]) == (False, True)


def test_the_digest_changes_with_ranges_and_encoder() -> None:
    limits: Mapping[str, tuple[float, float]] = {**RANGES.limits, "conv1": (-2.0, 1.75)}
    digests = {
        RANGES.digest,
        replace(RANGES, limits=limits).digest,
        replace(RANGES, fingerprint="0" * 32).digest,
        replace(RANGES, tiles=4).digest,
    }
    assert len(digests) == 4
    backwards = replace(RANGES, limits=dict(sorted(RANGES.limits.items(), reverse=True)))
    assert backwards.digest == RANGES.digest


def test_missing_ranges_say_how_to_measure_them(untrained: EncoderFolder) -> None:
    with pytest.raises(InputError) as caught:
        open_encoder(untrained.path, precision="int8")
    assert str(caught.value) == (
        f"{untrained.path} has no int8 ranges; measure them with "
        f"`histo-index encoder quantize {untrained.path} TILES...`"
    )


def refusal(folder: Path, fingerprint: str) -> str:
    with pytest.raises(IndexFormatError) as caught:
        load_ranges(folder, fingerprint)
    return str(caught.value)


def test_any_flipped_bit_of_the_ranges_is_refused(tmp_path: Path) -> None:
    save_ranges(tmp_path, RANGES)
    path = tmp_path / "int8.json"
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert refusal(tmp_path, RANGES.fingerprint).startswith(f"{path}: damaged, or not of ")


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"limits": 3}'])
def test_other_files_are_refused_as_ranges(tmp_path: Path, text: str) -> None:
    (tmp_path / "int8.json").write_text(text)
    assert refusal(tmp_path, RANGES.fingerprint).startswith(f"{tmp_path}/int8.json: damaged, or ")


def test_ranges_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_ranges(tmp_path, RANGES)
    assert refusal(tmp_path, "0" * 32) == (
        f"{tmp_path}/int8.json: damaged, or not of encoder {'0' * 32}; measure the ranges again "
        f"with `histo-index encoder quantize {tmp_path} TILES...`"
    )


def test_edited_ranges_are_refused(tmp_path: Path) -> None:
    save_ranges(tmp_path, RANGES)
    path = tmp_path / "int8.json"
    document = json.loads(path.read_text())
    document["limits"]["conv1"] = [-1.0, 1.0]
    path.write_text(json.dumps(document))
    assert "damaged" in refusal(tmp_path, RANGES.fingerprint)


def test_ranges_need_tiles_and_finite_features(settled: EncoderFolder, tiles: Pixels) -> None:
    with pytest.raises(InputError, match="no usable tiles to measure int8 ranges on"):
        measure_ranges(settled, [])
    broken = {name: array.copy() for name, array in settled.weights.items()}
    broken["conv1.weight"][:] = np.inf
    with pytest.raises(InputError, match="its features are not finite; check its weights"):
        measure_ranges(replace(settled, weights=broken), tiles[:1])


def test_the_folder_stays_readable_with_ranges_in_it(quantized: EncoderFolder) -> None:
    assert load_encoder(quantized.path).fingerprint == quantized.fingerprint
