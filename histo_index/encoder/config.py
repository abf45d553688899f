"""What an encoder is: its network, its preprocessing, where its weights come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from histo_index.encoder.covariance_sketch import SKETCH_SIZE
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.errors import InputError

# Channels of the last stage of each trunk, from torchvision's definitions of the networks; every
# stage before has half as many.
ARCHITECTURES: Final = {"resnet18": 512, "resnext50_32x4d": 2048, "resnext101_32x8d": 2048}
# How the feature maps of the network become an embedding, see `Trunk`.
MEAN: Final = "mean"
COVARIANCE: Final = "covariance"
STAGES: Final = 4
# The stages that each pools. Features of the fourth transfer worst to tissue that training did not
# see.
POOLED_STAGES: Final = {MEAN: (STAGES,), COVARIANCE: (1, 2, 3)}
POOLINGS: Final = tuple(POOLED_STAGES)
# Those of EncoderConfig that are published thresholds, one for each distance an index may have.
THRESHOLD_FIELDS: Final = ("threshold", "diffused_threshold")


@dataclass(frozen=True, kw_only=True)
class PublishedThreshold:
    """The distance at which an encoder's author cuts same from different.

    Attributes:
        value: squared distance, 0…4.
        origin: on what it was chosen, in words a user can judge.
    """

    value: float
    origin: str

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 4:
            raise InputError(f"threshold {self.value} is not a distance; expected 0 to 4")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """What an encoder is and where it comes from.

    Attributes:
        architecture: a key of ARCHITECTURES.
        pooling: how features become an embedding: the `mean` of the last stage, as torchvision has
            it, or the `covariance` of stages 1 to 3.
        preprocessing: how a tile becomes the input.
        training: how the weights came about; `{"method": "none"}` marks untrained ones.
        mpp: microns per pixel of the images trained at, if known.
        threshold: the published threshold, if there is one.
        diffused_threshold: the same for distances that an index joins with diffusion coordinates.

    Raises:
        InputError: architecture or pooling are unknown, or mpp is no length.
    """

    architecture: str
    pooling: str = MEAN
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: Mapping[str, Any] = field(default_factory=lambda: {"method": "none"})
    mpp: float | None = None
    threshold: PublishedThreshold | None = None
    diffused_threshold: PublishedThreshold | None = None

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"unknown architecture {self.architecture}; expected one of "
                f"{', '.join(ARCHITECTURES)}"
            )
        if self.pooling not in POOLINGS:
            raise InputError(
                f"unknown pooling {self.pooling}; expected one of {', '.join(POOLINGS)}"
            )
        if self.mpp is not None and not 0 < self.mpp < float("inf"):
            raise InputError(f"mpp {self.mpp} is no length; expected microns per pixel above 0")

    @property
    def embedding_size(self) -> int:
        """D, the length of an embedding."""
        if self.pooling == MEAN:
            return ARCHITECTURES[self.architecture]
        return SKETCH_SIZE * len(POOLED_STAGES[COVARIANCE])

    @property
    def is_trained(self) -> bool:
        """Whether the weights have seen any image."""
        return self.training.get("method") != "none"


def unused_stages(pooling: str) -> list[str]:
    """Tell which stages come after all that a pooling takes, by torchvision's names."""
    return [f"layer{stage}" for stage in range(max(POOLED_STAGES[pooling]) + 1, STAGES + 1)]
