"""Untrained weights are those of the torchvision networks, drawn without torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from histo_index.encoder.config import ARCHITECTURES
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.runtime.reference import Trunk, extract_weights
from histo_index.encoder.runtime.resnet import ResNet
from histo_index.encoder.runtime.untrained import compare_shapes, random_weights, weight_shapes
from histo_index.errors import InputError, MismatchError

EXPECTED = (0.020286710932850838, -0.02291487716138363, 0.030214115977287292)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_and_shapes_are_those_of_torchvision(architecture: str) -> None:
    with torch.device("meta"):  # without memory
        state = ResNet(architecture).state_dict()
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    assert weight_shapes(architecture) == expected
    assert list(weight_shapes(architecture)) == list(expected)


def test_kernels_are_spread_as_torchvision_spreads_them_and_norms_are_the_identity() -> None:
    drawn = random_weights("resnet18", seed=1)
    torchvision = extract_weights(Trunk("resnet18", Preprocessing()))
    for name, array in drawn.items():
        assert array.dtype == np.float32
        if array.ndim == 1:
            np.testing.assert_array_equal(array, torchvision[name])
        elif array.size > 30_000:
            assert array.std() == pytest.approx(torchvision[name].std(), rel=0.02)
            assert abs(array.mean()) < 0.02 * array.std() + 1e-3


def test_the_seed_decides_and_must_fit() -> None:
    first, again, other = (random_weights("resnet18", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["conv1.weight"], again["conv1.weight"])
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])
    # The same numbers on every machine and with every release.
    assert first["conv1.weight"].ravel()[:3] == pytest.approx(EXPECTED, rel=1e-6)
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match="expected 0 to"):
            random_weights("resnet18", seed=seed)
    with pytest.raises(MismatchError, match="unknown architecture vgg16"):
        random_weights("vgg16", seed=0)


def test_differences_of_shape_are_named() -> None:
    expected = {"a": (1, 2), "b": (3,), "c": (4,)}
    found = {"a": np.zeros((2, 1)), "b": np.zeros(3), "d": np.zeros(4)}
    assert compare_shapes(found, expected) == (
        "1 missing ['c'], 1 unknown ['d'], 1 of another shape ['a [2, 1] for [1, 2]']"
    )
    assert compare_shapes({"b": np.zeros(3)}, {"b": (3,)}) is None


def test_torch_is_not_loaded() -> None:
    script = (
        "import sys; from histo_index.encoder import create, baselines\n"
        "print([name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
