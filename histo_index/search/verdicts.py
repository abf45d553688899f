"""From a distance to an answer: same, different or unsure, and on whose authority."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.errors import InputError


class Verdict(StrEnum):
    """The answer to: are these two of the same tissue category."""

    SAME = "same"
    DIFFERENT = "different"
    UNSURE = "unsure"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where same ends and different begins.

    Attributes:
        value: squared distance, 0…4; at or below it two images are the same. None if nobody has
            chosen one, and then every verdict is unsure.
        origin: who chose it, on what.
        is_calibrated: whether it was fitted on the user's own labelled pairs.
    """

    value: float | None
    origin: str
    is_calibrated: bool = False

    def __post_init__(self) -> None:
        is_number = isinstance(self.value, int | float)
        if self.value is not None and not (is_number and 0 <= self.value <= 4):
            raise InputError(f"threshold {self.value} is not a distance; pass a value from 0 to 4")

    @classmethod
    def choose(cls, given: float | None, published: Mapping[str, Any] | None) -> Self:
        """Take the user's threshold, else the encoder's published one, else none."""
        if given is not None:
            return cls(value=given, origin="given by the user")
        if published is not None:
            origin = f"published with the encoder: {published['origin']}"
            return cls(value=published["value"], origin=origin)
        return cls(value=None, origin="none: the encoder publishes none; pass --threshold")

    def judge(self, distances: npt.NDArray[np.floating]) -> pa.Array:
        """Turn distances [P] into verdicts, string [P]."""
        codes = np.full(len(distances), 2, np.int8)
        if self.value is not None:
            # In float64, the threshold's own type, so that a distance printed in full is decisive.
            codes = (~(distances.astype(np.float64) <= self.value)).astype(np.int8)
        names = [Verdict.SAME.value, Verdict.DIFFERENT.value, Verdict.UNSURE.value]
        return pa.DictionaryArray.from_arrays(codes, names).cast(pa.string())
