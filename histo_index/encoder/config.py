"""The description of an encoder: network, preprocessing, pooling, origin of the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from histo_index.encoder.covariance_sketch import SKETCH_SIZE
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.foreign import ForeignNetwork
from histo_index.errors import InputError

# Channels of the last stage of each trunk, as torchvision defines the networks; each earlier stage
# has half as many as the next.
ARCHITECTURES: Final = {"resnet18": 512, "resnext50_32x4d": 2048, "resnext101_32x8d": 2048}
# How the feature maps of the network become an embedding, see `Trunk`.
MEAN: Final = "mean"
COVARIANCE: Final = "covariance"
PROJECTION: Final = "covariance+projection"
SECOND: Final = "covariance+projection+second"
STAGES: Final = 4
# The stages that each pools. Features of the fourth transfer worst to tissue that training did not
# see.
POOLED_STAGES: Final = {
    MEAN: (STAGES,), COVARIANCE: (1, 2, 3), PROJECTION: (1, 2, 3), SECOND: (1, 2, 3)
}  # fmt: skip
POOLINGS: Final = tuple(POOLED_STAGES)
# The learned projection: its hidden and its output size, and the prefix of its weights. Its output
# has the length of all covariances together.
PROJECTION_HIDDEN: Final = 768
PROJECTION_SIZE: Final = 256
PROJECTION_PREFIX: Final = "projection."
# The second network of `covariance+projection+second`: the channels of the maps that it predicts,
# the length of their mean and of their covariances beside the covariances of a stage, and the
# prefix of its weights.
SECOND_CHANNELS: Final = 112
SECOND_PART_LENGTH: Final = 1.5
SECOND_PREFIX: Final = "second."
# The published thresholds in EncoderConfig, one for each kind of distance.
THRESHOLD_FIELDS: Final = ("threshold", "diffused_threshold")


@dataclass(frozen=True, kw_only=True)
class PublishedThreshold:
    """The distance below which a pair counts as same, published with an encoder.

    Attributes:
        value: distance, 0 to 4.
        origin: the data it was chosen on, for the user.
    """

    value: float
    origin: str

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 4:
            raise InputError(f"threshold {self.value} is not a distance; expected 0 to 4")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The description of an encoder.

    Attributes:
        architecture: a key of ARCHITECTURES; of a foreign network `source:name`.
        pooling: how features become an embedding: the `mean` of the last stage, as torchvision has
            it; the `covariance` of stages 1 to 3; `covariance+projection`, which joins these
            with a learned projection of them and of the mean of stage 3, see
            `projection_inputs`; or `covariance+projection+second`, which joins these with mean and
            covariances of the maps of a second network; of a foreign network its features.
        preprocessing: how a tile becomes the input.
        training: the model card; `{"method": "none"}` marks untrained weights.
        mpp: microns per pixel of the training images, if known.
        threshold: published for plain distances, if any.
        diffused_threshold: published for diffused distances, if any.
        foreign: set if another library defines the network.

    Raises:
        InputError: architecture or pooling is unknown, or mpp is not above 0.
    """

    architecture: str
    pooling: str = MEAN
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: Mapping[str, Any] = field(default_factory=lambda: {"method": "none"})
    mpp: float | None = None
    threshold: PublishedThreshold | None = None
    diffused_threshold: PublishedThreshold | None = None
    foreign: ForeignNetwork | None = None

    def __post_init__(self) -> None:
        is_own = self.foreign is None
        if is_own and self.architecture not in ARCHITECTURES:
            raise InputError(
                f"unknown architecture {self.architecture}; expected one of "
                f"{', '.join(ARCHITECTURES)}"
            )
        if is_own and self.pooling not in POOLINGS:
            raise InputError(
                f"unknown pooling {self.pooling}; expected one of {', '.join(POOLINGS)}"
            )
        if self.mpp is not None and not 0 < self.mpp < float("inf"):
            raise InputError(f"mpp {self.mpp} is not a length; expected microns per pixel above 0")

    @property
    def embedding_size(self) -> int:
        """D, the length of an embedding."""
        if self.foreign is not None:
            return self.foreign.embedding_size
        if self.pooling == MEAN:
            return ARCHITECTURES[self.architecture]
        size = SKETCH_SIZE * len(POOLED_STAGES[self.pooling])
        if has_projection(self.pooling):
            size += PROJECTION_SIZE
        if self.pooling == SECOND:
            size += SECOND_CHANNELS + SKETCH_SIZE
        return size

    @property
    def licence(self) -> str | None:
        """The licence of the weights, if known."""
        return self.foreign.licence if self.foreign else None

    @property
    def is_trained(self) -> bool:
        """Whether the weights were trained."""
        return self.training.get("method") != "none"


def has_projection(pooling: str) -> bool:
    """Return whether a learned projection is part of the embedding."""
    return pooling in (PROJECTION, SECOND)


def unused_stages(pooling: str) -> list[str]:
    """Return the torchvision names of the stages after the last pooled one."""
    return [f"layer{stage}" for stage in range(max(POOLED_STAGES[pooling]) + 1, STAGES + 1)]


def projection_inputs(architecture: str) -> int:
    """Return the inputs of the learned projection: all covariances, and the mean of stage 3."""
    stages = POOLED_STAGES[PROJECTION]
    return SKETCH_SIZE * len(stages) + (ARCHITECTURES[architecture] >> (STAGES - stages[-1]))
