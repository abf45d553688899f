"""The threshold: from distances to verdicts (same, different, unsure)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo_index.errors import InputError
from histo_index.indexer.format.encoder_card import ThresholdRecord
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.curve import Likelihoods, farness


class Verdict(StrEnum):
    """The answer to: are these two of the same tissue category."""

    SAME = "same"
    DIFFERENT = "different"
    UNSURE = "unsure"


_VERDICTS: Final = (Verdict.SAME, Verdict.DIFFERENT, Verdict.UNSURE)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The distance up to which a pair is the same, and its origin.

    Attributes:
        value: squared distance, 0…4; at or below it two images are the same. None if there is
            no threshold; every verdict is then unsure.
        origin: where it comes from, for messages.
        is_calibrated: whether it was fitted on the user's own pairs.
        calibration: of the index, for probabilities; also with another value.
        answers_unsure: whether verdicts may be unsure.
    """

    value: float | None
    origin: str
    is_calibrated: bool = False
    calibration: Calibration | None = None
    answers_unsure: bool = False

    @property
    def far_distance(self) -> float | None:
        """Distance to the nearest tile beyond which an image is novel; None if none may be."""
        if self.calibration is None or not self.answers_unsure:
            return None
        return self.calibration.far_distance

    def __post_init__(self) -> None:
        is_number = isinstance(self.value, int | float)
        if self.value is not None and not (is_number and 0 <= self.value <= 4):
            raise InputError(f"threshold {self.value} is not a distance; pass a value from 0 to 4")

    @classmethod
    def choose(
        cls,
        given: float | None,
        published: ThresholdRecord | None,
        calibration: Calibration | None = None,
        *,
        unsure: bool | None = None,
    ) -> Self:
        """Choose the user's threshold, else the calibrated, else the encoder's published one.

        Args:
            given: the user's, if any.
            published: the encoder's, if any.
            calibration: the index's, if any.
            unsure: whether verdicts may be unsure; None is as calibrated.

        Raises:
            InputError: the threshold is no distance, or unsure verdicts have no calibration.
        """
        if unsure and calibration is None:
            raise InputError(
                "no calibration, so no pair can be unsure: run `histo-index calibrate` first, or "
                "leave out --unsure"
            )
        value, origin = (
            None,
            "none: the encoder publishes no threshold for these distances; calibrate, or pass "
            "--threshold",
        )
        if given is not None:
            value, origin = given, "given by the user"
        elif calibration is not None:
            value, origin = calibration.threshold.value, calibration.origin
        elif published is not None:
            value, origin = published.value, f"published with the encoder: {published.origin}"
        return cls(
            value=value,
            origin=origin,
            is_calibrated=given is None and calibration is not None,
            calibration=calibration,
            answers_unsure=calibration is not None
            and (calibration.answers_unsure if unsure is None else unsure),
        )

    @property
    def prior(self) -> float | None:
        """Share of same pairs, 0…1, that probabilities hold for; None without any."""
        return None if self.calibration is None else self.calibration.prior

    def likelihoods(self, distances: npt.NDArray[np.floating]) -> Likelihoods | None:
        """Return the probability that each pair [P] is the same; None without a curve."""
        curve = self.calibration.curve if self.calibration else None
        return None if curve is None else curve.at(distances)

    def verdicts(
        self,
        distances: npt.NDArray[np.floating],
        is_far: npt.NDArray[np.bool_] | None = None,
    ) -> pa.Array:
        """Turn distances [P] into verdicts, string [P].

        Args:
            distances: squared distances [P].
            is_far: bool [P], pairs with a novel image.
        """
        codes = self._codes(distances, is_far)
        return pa.DictionaryArray.from_arrays(codes, [*_VERDICTS]).cast(pa.string())

    def verdict(self, distance: np.floating, *, is_far: bool) -> Verdict:
        """Turn one distance into a verdict, as `verdicts` does; pyarrow is not needed for it.

        Args:
            distance: squared distance of the pair.
            is_far: whether an image of the pair is novel.
        """
        return _VERDICTS[int(self._codes(np.array([distance]), np.array([is_far]))[0])]

    def _codes(
        self, distances: npt.NDArray[np.floating], is_far: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.int8]:
        """Compute the position of each verdict in _VERDICTS, int8 [P]."""
        codes = np.full(len(distances), 2, np.int8)
        if self.value is not None:
            # In float64, the threshold's own type, so that a distance printed in full is decisive.
            codes = (~(distances.astype(np.float64) <= self.value)).astype(np.int8)
            codes[self.is_unsure(distances, is_far)] = 2
        return codes

    def is_unsure(
        self,
        distances: npt.NDArray[np.floating],
        is_far: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Flag pairs without a verdict, bool [P]; none unless verdicts may be unsure.

        These are pairs with a margin up to the largest at which the 95 % band still includes the
        probability at the threshold, and pairs with a novel image.
        """
        is_unsure = np.zeros(len(distances), bool)
        if not self.answers_unsure or self.value is None:
            return is_unsure
        curve = self.calibration.curve if self.calibration else None
        if curve is not None:
            # One margin for both sides: with few groups the band is often wide on one side only,
            # and verdicts from the other side would be wrong more often.
            reach = self.margins(
                curve.distances_with_band_at(float(curve.at(np.array(self.value)).probability))
            )
            is_unsure = self.margins(distances) <= reach.max()
        return is_unsure if is_far is None else is_unsure | is_far

    def margins(self, distances: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Compute how far the log-odds of pairs [P] are from those at the threshold.

        In units of the sigmoid's slope; larger is more certain.
        """
        assert self.value is not None
        margins: npt.NDArray[np.float64] = np.abs(
            farness(distances.astype(np.float64)) - farness(self.value)
        )
        return margins
