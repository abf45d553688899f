"""The network as a GPU computes it, on the CPU: what is rounded to bfloat16, and what is not."""

import numpy as np
import pytest
import torch

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.folder import EncoderFolder, bundled_encoder, load_encoder
from histo_index.encoder.runtime.cuda import round_network
from histo_index.encoder.runtime.reference import ReferenceRuntime, Trunk, load_trunk


@pytest.fixture(scope="module")
def bundled() -> EncoderFolder:
    # Random weights do not show the error: they carry it less far.
    return load_encoder(bundled_encoder())


@pytest.fixture(scope="module")
def pale_tiles(fresh_tiles: Pixels) -> Pixels:
    """uint8 RGB [2, 64, 64, 3]: a thirtieth of the contrast of tissue, near white."""
    pale = 235 + (fresh_tiles[:2].astype(np.float32) - 128) / 30
    return pale.astype(np.uint8)


def distances(left: Float32, right: Float32) -> Float32:
    """Distance of each row to the same row of the other, both scaled to unit length."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
    squares: Float32 = ((a - b) ** 2).sum(axis=1)
    return squares


@torch.inference_mode()
def embed(trunk: torch.nn.Module, tiles: Pixels) -> Float32:
    found: Float32 = trunk(torch.from_numpy(tiles)).float().numpy()
    return found


def test_a_rounded_network_sees_exact_pixels(bundled: EncoderFolder, pale_tiles: Pixels) -> None:
    expected = ReferenceRuntime(bundled).embed(pale_tiles)
    found = embed(round_network(load_trunk(bundled), torch.bfloat16), pale_tiles)
    assert distances(found, expected).max() <= 1e-3
    # What rounding everything costs, pixels too: the reason for the exception.
    rounded = load_trunk(bundled)
    rounded.network.to(torch.bfloat16)
    assert distances(embed(rounded, pale_tiles), expected).max() > 1e-3


def test_the_residual_network_is_rounded_but_for_its_first_layer(bundled: EncoderFolder) -> None:
    trunk = round_network(load_trunk(bundled), torch.bfloat16)
    assert isinstance(trunk, Trunk)
    exact = {
        name for name, weight in trunk.named_parameters() if weight.dtype is not torch.bfloat16
    }
    assert exact == {"network.conv1.weight", "network.bn1.weight", "network.bn1.bias"} | {
        f"{part}.{name}"
        for part in ("projection", "second")
        for name, _ in trunk.get_submodule(part).named_parameters()
    }


def test_in_float32_nothing_is_rounded(bundled: EncoderFolder, pale_tiles: Pixels) -> None:
    found = embed(round_network(load_trunk(bundled), torch.float32), pale_tiles)
    assert np.array_equal(found, embed(load_trunk(bundled), pale_tiles))
