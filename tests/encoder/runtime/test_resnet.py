"""The residual networks are those of torchvision: names, untrained weights and features.

Run with the tests of training, which import torchvision anyway.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from histo_index.encoder.config import ARCHITECTURES
from histo_index.encoder.importing.checkpoint import read_checkpoint
from histo_index.encoder.runtime.resnet import ResNet


def torchvision_network(architecture: str) -> torch.nn.Module:
    network: torch.nn.Module = torchvision.models.get_model(architecture, weights=None)
    network.fc = torch.nn.Identity()
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_and_shapes_are_those_of_torchvision(architecture: str) -> None:
    with torch.device("meta"):
        ours, theirs = (make(architecture).state_dict() for make in (ResNet, torchvision_network))
    assert list(ours) == list(theirs)
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }


@pytest.mark.parametrize("architecture", ["resnet18", "resnext50_32x4d"])
def test_a_seed_draws_the_weights_of_torchvision(architecture: str) -> None:
    torch.manual_seed(3)
    ours = ResNet(architecture).state_dict()
    torch.manual_seed(3)
    theirs = torchvision_network(architecture).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("architecture", ["resnet18", "resnext50_32x4d"])
def test_features_and_gradients_are_those_of_torchvision(architecture: str) -> None:
    ours, theirs = ResNet(architecture), torchvision_network(architecture)
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 64, 64)
    features = [network(pixels) for network in (ours, theirs)]
    assert torch.equal(*features)
    for found in features:
        found.square().sum().backward()
    gradients = [network.get_parameter("conv1.weight").grad for network in (ours, theirs)]
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])
    # With the statistics that this step left.
    with torch.inference_mode():
        assert torch.equal(ours.eval()(pixels), theirs.eval()(pixels))


def test_a_network_saved_by_torchvision_is_imported(tmp_path: Path) -> None:
    network = torchvision.models.resnext50_32x4d()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth", "resnext50_32x4d")
    assert len(found) == 5 * 53  # 53 convolutions, each with the four arrays of its batch norm
    assert np.array_equal(found["conv1.weight"], network.conv1.weight.detach().numpy())


def test_an_encoder_runs_on_torch_without_torchvision() -> None:
    script = (
        "import sys; from histo_index.encoder.runtime import cuda, reference\n"
        "print([name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['torch']\n"
