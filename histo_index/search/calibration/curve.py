"""Probability of "same" by distance, a curve stored as knots.

Looking up needs numpy only; fitting is in `fit.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64

# Opposite vectors have no logarithm: they count as 0.002 nearer.
_LEAST_ROOM: Final = 5e-4


def farness(distances: Float64 | float) -> Float64:
    """Compute the feature of the logistic model: -log(1 - d/4), 0 for equal images.

    Args:
        distances: squared, float64 [n], 0…4.

    Source: Kull, Silva Filho and Flach (2017), Beta calibration, one of its two terms.
    """
    room: Float64 = 1 - np.asarray(distances) / 4
    found: Float64 = -np.log(np.maximum(room, _LEAST_ROOM))
    return found


@dataclass(frozen=True, kw_only=True)
class Likelihoods:
    """Probability of "same" of pairs, with its 95 % interval.

    Attributes:
        probability: float64 [P], 0…1.
        low: float64 [P], lower end of its 95 % interval.
        high: float64 [P], upper end.
    """

    probability: Float64
    low: Float64
    high: Float64


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Probability of "same" by distance, and its band; straight lines between the knots.

    Attributes:
        distance: float64 [M], strictly rising squared distances.
        probability: float64 [M], never rising, 0…1.
        low: float64 [M], lower end of the 95 % band, never rising.
        high: float64 [M], upper end, never rising.
    """

    distance: Float64
    probability: Float64
    low: Float64
    high: Float64

    def __post_init__(self) -> None:
        assert (np.diff(self.distance) > 0).all()
        for line in (self.probability, self.low, self.high):
            assert line.shape == self.distance.shape
            assert (np.diff(line) <= 0).all()
            assert ((line >= 0) & (line <= 1)).all()

    def at(self, distances: npt.NDArray[np.floating]) -> Likelihoods:
        """Interpolate at distances [P]; beyond the ends the curve is constant."""
        lines = (
            np.interp(distances, self.distance, line)
            for line in (self.probability, self.low, self.high)
        )
        probability, low, high = lines
        return Likelihoods(probability=probability, low=low, high=high)

    def distances_with_band_at(self, probability: float) -> Float64:
        """Find the nearest and the furthest distance whose band includes a probability.

        Returns:
            float64 [2], squared distances; an end of the curve where the band reaches it.
        """
        # Both ends of the band fall, and what is interpolated has to rise.
        ends = (np.interp(-probability, -line, self.distance) for line in (self.low, self.high))
        return np.fromiter(ends, np.float64)

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain lists for JSON."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the result of `as_dict`."""
        return cls(**{name: np.array(line, np.float64) for name, line in values.items()})
