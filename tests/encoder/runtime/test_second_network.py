"""The second network: its graph against torch, and its place in an embedding."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histo_index.arrays import Pixels
from histo_index.encoder.config import SECOND, SECOND_CHANNELS, SECOND_PREFIX
from histo_index.encoder.folder import EncoderFolder, compute_fingerprint, used_weights
from histo_index.encoder.runtime.openvino import OpenVinoRuntime, Precision, has_bfloat16
from histo_index.encoder.runtime.reference import ReferenceRuntime
from histo_index.encoder.runtime.second.layers import BLOCKS, second_shapes
from histo_index.encoder.runtime.second.network import SecondNetwork
from histo_index.encoder.runtime.untrained import projection_shapes
from histo_index.errors import MismatchError
from tests.encoder.conftest import cosines
from tests.encoder.runtime.test_openvino import embed

# Of an embedding by a ResNet-18 whose second network is left out: three covariances, projection.
BEFORE = 3 * 512 + 256


@pytest.fixture(scope="module")
def encoder(settled: EncoderFolder) -> EncoderFolder:
    """A ResNet-18 with random projection and second network."""
    random = np.random.default_rng(5)
    weights = dict(settled.weights)
    for name, shape in projection_shapes("resnet18").items():
        drawn = random.normal(0, 0.1, shape).astype(np.float32)
        weights[name] = np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn
    for name, shape in second_shapes().items():
        # The spread that keeps the size of what goes through.
        spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.2
        weights[name] = random.normal(0, spread, shape).astype(np.float32)
    return replace(settled, config=replace(settled.config, pooling=SECOND), weights=weights)


@pytest.mark.parametrize(
    ("precision", "least"),
    [
        ("float32", 0.99999),
        pytest.param(
            "bfloat16", 0.995,
            marks=pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16"),
        ),
    ],
)  # fmt: skip
def test_its_graph_agrees_with_torch(
    encoder: EncoderFolder, fresh_tiles: Pixels, precision: Precision, least: float
) -> None:
    slow = embed(ReferenceRuntime(encoder), fresh_tiles)
    fast = embed(OpenVinoRuntime(encoder, precision=precision), fresh_tiles)
    assert fast.shape == slow.shape == (len(fresh_tiles), encoder.config.embedding_size)
    assert cosines(fast[:, BEFORE:], slow[:, BEFORE:]).min() >= least
    # Else agreement would be no feat.
    assert cosines(slow[:-1, BEFORE:], slow[1:, BEFORE:]).mean() < 0.98


def test_it_adds_mean_and_covariances_of_one_and_a_half_the_length(
    encoder: EncoderFolder, fresh_tiles: Pixels
) -> None:
    found = embed(OpenVinoRuntime(encoder, precision="float32"), fresh_tiles)
    alone = replace(encoder, config=replace(encoder.config, pooling="covariance+projection"))
    without = embed(OpenVinoRuntime(alone, precision="float32"), fresh_tiles)
    np.testing.assert_allclose(found[:, :BEFORE], without, atol=1e-5)
    mean, covariances = np.split(found[:, BEFORE:], [SECOND_CHANNELS], axis=1)
    for part in (mean, covariances):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1.5, rtol=1e-5)
    network = SecondNetwork().eval()
    network.load_state_dict(
        {
            name.removeprefix(SECOND_PREFIX): torch.from_numpy(array)
            for name, array in encoder.weights.items()
            if name.startswith(SECOND_PREFIX)
        }
    )
    with torch.no_grad():
        maps = network(torch.from_numpy(fresh_tiles).permute(0, 3, 1, 2).float())
    assert maps.shape == (len(fresh_tiles), 112, 4, 4)  # a place for every 16 pixels
    assert cosines(mean, maps.mean(dim=(2, 3)).numpy()).min() > 0.99999


def test_it_has_the_form_of_efficientnet_lite0_to_its_eleventh_block() -> None:
    # Tan & Le (2019), table 1: channels, and a stride of 16 in all.
    assert [block.layers[-1].outputs for block in BLOCKS] == [
        32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112,
    ]  # fmt: skip
    assert np.prod([layer.stride for block in BLOCKS for layer in block.layers]) == 16
    assert sum(int(np.prod(shape)) for shape in second_shapes().values()) == 692_688


def test_its_weights_count_only_where_they_are_used(encoder: EncoderFolder) -> None:
    changed = dict(encoder.weights)
    changed["second.stem.bias"] = changed["second.stem.bias"] + 1
    fingerprints = {
        compute_fingerprint(encoder.config, used) for used in (changed, encoder.weights)
    }
    assert len(fingerprints) == 2
    for pooling in ("mean", "covariance", "covariance+projection"):
        assert not any(name.startswith("second.") for name in used_weights(changed, pooling))
    missing = replace(encoder, weights=used_weights(encoder.weights, "covariance+projection"))
    with pytest.raises(MismatchError, match=r"66 missing \['second\.blocks"):
        ReferenceRuntime(missing)
    with pytest.raises(MismatchError, match=r"'second\.stem\.weight' is missing"):
        OpenVinoRuntime(missing, precision="float32")
