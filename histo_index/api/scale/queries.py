"""The scale of images that an index is asked about, compared with what answers them."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from histo_index.api.scale.known import index_scale, input_px, row_scales
from histo_index.arrays import Int64
from histo_index.errors import HistoIndexError, ImageError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.calibration import Calibration
from histo_index.slides.reading.identity import parse_tile
from histo_index.slides.reading.info import LARGEST_MPP, SMALLEST_MPP
from histo_index.slides.scale import ANY_MPP, ScaleCheck, compare_scales, network_scale
from histo_index.wording import counted, printable

_log = logging.getLogger(__name__)
_NOTHING = ScaleCheck(ratio=None, message="")


class QueryScales:
    """Compares the scale of queries with that of an index and of its calibration.

    Attributes:
        any_mpp: whether any difference is accepted.
    """

    def __init__(self, index: OpenIndex, *, mpp: float | None, any_mpp: bool) -> None:
        """Prepare to compare; nothing is read yet.

        Args:
            index: the index.
            mpp: microns per pixel of images that are not in the index; None if unknown.
            any_mpp: accept any difference.

        Raises:
            InputError: mpp is no scale.
        """
        if mpp is not None and not SMALLEST_MPP <= mpp <= LARGEST_MPP:
            raise InputError(
                f"--mpp {mpp}: expected {SMALLEST_MPP:g} to {LARGEST_MPP:g} microns per pixel"
            )
        self._index = index
        self._mpp = mpp
        self.any_mpp = any_mpp

    @cached_property
    def _known(self) -> tuple[str, tuple[float, float] | None]:
        """What images are compared with: the index, or its encoder if its own is unknown."""
        scale, encoder = index_scale(self._index), self._index.manifest.encoder.mpp
        if scale is None and encoder is not None:
            return "the encoder", (encoder, encoder)
        return "the index", None if scale is None else scale.um_per_px

    @cached_property
    def _resize_px(self) -> int:
        return input_px(self._index.folder)[0]

    def of_image(self, path: Path | None, width: int | None, height: int | None) -> float | None:
        """Return microns per network pixel of an image that is not indexed; None if unknown.

        Args:
            path: its file, maybe a tile of a slide; None for an image in memory.
            width: of the image, in pixels.
            height: of the image, in pixels.
        """
        tile = None if path is None else parse_tile(path)
        if tile is not None:
            return network_scale(tile.mpp, tile.size, tile.size, resize_px=self._resize_px)
        return self.at(self._mpp, width, height)

    def at(self, mpp: float | None, width: int | None, height: int | None) -> float | None:
        """Return microns per network pixel of an image of a size; None if unknown."""
        if mpp is None or not width or not height:
            return None
        return network_scale(mpp, width, height, resize_px=self._resize_px)

    def compare(self, scale: float | None, calibration: Calibration | None) -> ScaleCheck:
        """Compare an image that is not indexed with the index and the calibration.

        Args:
            scale: in microns per network pixel; None if unknown.
            calibration: what decides about the image, if anything.

        Returns:
            The comparison that differs most. Its message is empty if they agree, or if neither the
            image nor the index has a scale.
        """
        other_name, other = self._known
        if scale is None and other is None:
            return _NOTHING
        found = [compare_scales(scale, other, name="the image", other_name=other_name)]
        return max([*found, *self._judged([scale], calibration)], key=lambda one: one.ratio or 0.0)

    def compare_rows(self, rows: Int64, calibration: Calibration | None) -> list[ScaleCheck]:
        """Compare tiles of the index, int64 [n], with what the calibration was made on: [n]."""
        if calibration is None or calibration.scale is None:
            return [_NOTHING] * len(rows)
        distinct, which = np.unique(row_scales(self._index, rows), return_inverse=True)
        known = [float(scale) if np.isfinite(scale) else None for scale in distinct]
        found = self._judged(known, calibration)
        return [found[number] for number in which.tolist()]

    @staticmethod
    def _judged(
        scales: Sequence[float | None], calibration: Calibration | None
    ) -> list[ScaleCheck]:
        if calibration is None or calibration.scale is None:
            return []
        other = calibration.scale.um_per_px
        return [
            compare_scales(scale, other, name="the image", other_name="the calibration")
            for scale in scales
        ]


class ScaleJudge:
    """Refuses images of another scale, and logs once about those that are compared."""

    def __init__(self, scales: QueryScales, calibration: Calibration | None) -> None:
        """Start without images.

        Args:
            scales: compares with the index.
            calibration: what decides about the images; None if nothing does.
        """
        self._scales = scales
        self._calibration = calibration
        self._warned: list[str] = []
        self._unchecked: list[str] = []

    def check_image(
        self, name: str, path: Path | None, width: int | None, height: int | None
    ) -> ImageError | None:
        """Return why an image that is not indexed is refused; see `QueryScales.of_image`."""
        scale = self._scales.of_image(path, width, height)
        return self._add(name, self._scales.compare(scale, self._calibration))

    def check_rows(self, names: Sequence[str], rows: Int64) -> list[HistoIndexError | None]:
        """Return why tiles of the index, int64 [n], are refused, by their names [n]."""
        checks = self._scales.compare_rows(rows, self._calibration)
        return [self._add(name, check) for name, check in zip(names, checks, strict=True)]

    def _add(self, name: str, check: ScaleCheck) -> ImageError | None:
        if check.is_refused and not self._scales.any_mpp:
            return ImageError(f"{printable(name)}: another scale: {check.message}; {ANY_MPP}")
        if check.message:
            (self._unchecked if check.ratio is None else self._warned).append(check.message)
        return None

    def log(self) -> None:
        """Log what was compared: a line each about other scales and about unknown ones."""
        if self._warned:
            images = counted(len(self._warned), "image")
            _log.warning("%s: another scale: %s", images, self._warned[0])
        if self._unchecked:
            images = counted(len(self._unchecked), "image")
            _log.info("%s", self._unchecked[0].replace("the image", images))
