"""The class model of an index, as it is stored in `calibration.json`."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from histo_index.arrays import Float64
from histo_index.search.classification.fit import Fitted

# Hex digits that are kept of a tile's hash.
DIGITS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """When a tile is unlike everything labelled.

    Attributes:
        distance: squared distance to the nearest labelled tile beyond which it is.
        detected: share of tiles of a class that is not there which are, averaged over the classes,
            each left out in turn.
    """

    distance: float
    detected: float


@dataclass(frozen=True, kw_only=True)
class ClassModel:
    """Which class a tile is of, by the labelled tiles around it.

    Attributes:
        names: the classes that have a probability, [C].
        unscored: classes of one group only, which have none.
        reach: squared distance at which the kernel has fallen to 1/e.
        smoothing: density that every class has everywhere.
        scale: root mean square of the log densities.
        priors: share of each class, groups weighted equally, [C].
        parameters: offset of each class and the slopes, [P].
        covariance: of the parameters, [P, P]; None with too few groups for intervals.
        groups: groups that it was fitted to.
        loss: log loss of the tiles it was fitted to, each without its own group.
        novelty: when a tile is unlike everything labelled.
        group_column: column of the index that holds the groups; None if they came from elsewhere.
        file_group: column of the label file that held them; None if they came from elsewhere.
        group_digests: with `file_group`: start of the SHA-256 of the name of each group, by its
            number, joined. Otherwise empty.
        label_column: column of the index that holds the classes; None if they came from a file.
        contents: start of the SHA-256 of each labelled tile, joined, 16 digits each.
        tile_classes: class of each labelled tile.
        tile_groups: group of each, a number.
        live: the lowest such starts of all tiles that were in the index, joined.
    """

    names: list[str]
    unscored: list[str]
    reach: float
    smoothing: float
    scale: float
    priors: list[float]
    parameters: list[float]
    covariance: list[list[float]] | None
    groups: int
    loss: float
    novelty: Novelty
    group_column: str | None
    file_group: str | None
    group_digests: str
    label_column: str | None
    contents: str
    tile_classes: list[int]
    tile_groups: list[int]
    live: str

    @property
    def fitted(self) -> Fitted:
        """The settings as arrays."""
        covariance: Float64 | None = None
        if self.covariance is not None:
            covariance = np.array(self.covariance)
        return Fitted(
            reach=self.reach,
            smoothing=self.smoothing,
            scale=self.scale,
            priors=np.array(self.priors),
            parameters=np.array(self.parameters),
            covariance=covariance,
            groups=self.groups,
            loss=self.loss,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the result of `as_dict`."""
        return cls(**{**values, "novelty": Novelty(**values["novelty"])})


def name_digest(name: str) -> str:
    """Hash the name of a group: a file that others may read need not name patients."""
    return hashlib.sha256(name.encode()).hexdigest()[:DIGITS]


def split_digests(joined: str) -> list[str]:
    """Split joined starts of hashes."""
    return [joined[start : start + DIGITS] for start in range(0, len(joined), DIGITS)]
