"""The weights that a network has: their names, shapes and untrained values, without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from histo_index.encoder.config import (
    PROJECTION_HIDDEN,
    PROJECTION_PREFIX,
    PROJECTION_SIZE,
    projection_inputs,
)
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError

Shape = tuple[int, ...]


class Shaped(Protocol):
    """An array or tensor."""

    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How a residual network is built.

    Attributes:
        blocks: number of residual blocks in each stage.
        expansion: output channels of a block by its planes (64, 128, 256 and 512 by stage).
        width: inner channels of a bottleneck block by its planes; 0 for basic blocks.
        groups: of the 3 × 3 convolutions in bottleneck blocks.
    """

    blocks: Sequence[int]
    expansion: int = 4
    width: int = 0
    groups: int = 1


NETWORKS: Final = {
    "resnet18": Architecture(blocks=(2, 2, 2, 2), expansion=1),
    "resnext50_32x4d": Architecture(blocks=(3, 4, 6, 3), width=2, groups=32),
    "resnext101_32x8d": Architecture(blocks=(3, 4, 23, 3), width=4, groups=32),
}


def random_weights(architecture: str, *, seed: int) -> Weights:
    """Draw untrained weights.

    Kernels are normal with variance 2 / (outputs × kernel area), as torchvision initialises these
    networks; every norm is the identity. The numbers are the same on every machine.

    Returns:
        Parameter name to float32 array, without the classifier layer.

    Raises:
        MismatchError: the architecture is unknown.
        InputError: the seed is not 0 to 2**63 - 1.

    Source: He et al. (2015), Delving deep into rectifiers, section 2.2.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed} is out of range; expected 0 to {2**63 - 1}")
    # The legacy generator, whose numbers are the same in every release of numpy.
    random = np.random.RandomState(np.random.MT19937(seed))
    weights: Weights = {}
    for name, shape in weight_shapes(architecture).items():
        if len(shape) > 1:
            outputs, _, height, width = shape
            spread = np.sqrt(2 / (outputs * height * width))
            weights[name] = random.normal(0, spread, shape).astype(np.float32)
        else:
            is_one = name.endswith((".weight", ".running_var"))
            weights[name] = np.full(shape, float(is_one), np.float32)
    return weights


def weight_shapes(architecture: str) -> dict[str, Shape]:
    """Return the shape of each weight of a network by its torchvision name.

    Raises:
        MismatchError: the architecture is unknown.
    """
    if architecture not in NETWORKS:
        raise MismatchError(f"unknown architecture {architecture}; one of {list(NETWORKS)}")
    network = NETWORKS[architecture]
    shapes: dict[str, Shape] = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    channels = 64
    for stage, blocks in enumerate(network.blocks):
        planes = 64 << stage
        for block in range(blocks):
            prefix = f"layer{stage + 1}.{block}"
            shapes |= _block(prefix, network, channels, planes, is_first=block == 0)
            channels = planes * network.expansion
    return shapes


def projection_shapes(architecture: str) -> dict[str, Shape]:
    """Return the shape of each weight of the learned projection, see `EncoderConfig`."""
    inputs = projection_inputs(architecture)
    shapes: dict[str, Shape] = {
        **_norm("norm", inputs),
        "hidden.weight": (PROJECTION_HIDDEN, inputs),
        "hidden.bias": (PROJECTION_HIDDEN,),
        "output.weight": (PROJECTION_SIZE, PROJECTION_HIDDEN),
        "output.bias": (PROJECTION_SIZE,),
    }
    return {f"{PROJECTION_PREFIX}{name}": shape for name, shape in shapes.items()}


def _block(
    prefix: str, network: Architecture, channels: int, planes: int, *, is_first: bool
) -> dict[str, Shape]:
    outputs, inner = planes * network.expansion, planes * network.width
    kernels: list[Shape] = (
        [(inner, channels, 1, 1), (inner, inner // network.groups, 3, 3), (outputs, inner, 1, 1)]
        if network.width
        else [(planes, channels, 3, 3), (planes, planes, 3, 3)]
    )
    shapes: dict[str, Shape] = {}
    for number, kernel in enumerate(kernels, start=1):
        shapes[f"{prefix}.conv{number}.weight"] = kernel
        shapes |= _norm(f"{prefix}.bn{number}", kernel[0])
    if is_first and channels != outputs:
        shapes[f"{prefix}.downsample.0.weight"] = (outputs, channels, 1, 1)
        shapes |= _norm(f"{prefix}.downsample.1", outputs)
    return shapes


def _norm(name: str, channels: int) -> dict[str, Shape]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts}


def compare_shapes(found: Mapping[str, Shaped], expected: Mapping[str, Shape]) -> str | None:
    """Describe how names and shapes differ from the expected ones; None if they do not."""
    missing, unknown = (
        sorted(expected.keys() - found.keys()),
        sorted(found.keys() - expected.keys()),
    )
    wrong = [
        f"{name} {list(found[name].shape)} for {list(expected[name])}"
        for name in sorted(expected.keys() & found.keys())
        if tuple(found[name].shape) != tuple(expected[name])
    ]
    if not (missing or unknown or wrong):
        return None
    return (
        f"{len(missing)} missing {missing[:1]}, {len(unknown)} unknown {unknown[:1]}, "
        f"{len(wrong)} of another shape {wrong[:1]}"
    )
