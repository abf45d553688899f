"""The scale of an index beside that of its encoder, of its calibration and of new tiles."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_index.api.scale.known import index_scale
from histo_index.errors import InputError
from histo_index.indexer.format.manifest import MANIFEST_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.scale import ANY_MPP, Scale, ScaleCheck, compare_scales, network_scale
from histo_index.slides.tiling.options import SlideSource

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder

_log = logging.getLogger(__name__)


def describe_scale(index: OpenIndex, calibration: Scale | None) -> dict[str, Any]:
    """Describe the scale of an index, and how it compares with what it is used with.

    Args:
        index: the index.
        calibration: the scale that it was calibrated on; None if unknown.
    """
    own, encoder = index_scale(index), index.manifest.encoder.mpp
    check = _compare_range(own, _point(encoder), "the encoder")
    facts = {
        "um_per_network_px": None if own is None else sorted(set(own.um_per_px)),
        "field_um": None if own is None else sorted(set(own.field_um)),
        "encoder_um_per_px": encoder,
        "check": check.message or "the index has the scale of the encoder",
    }
    if calibration is not None:
        against = _compare_range(own, calibration.um_per_px, "the calibration")
        facts["calibration_um_per_network_px"] = sorted(set(calibration.um_per_px))
        facts["calibration_check"] = against.message or "the index has that of the calibration"
    return facts


def check_cut(
    index: Path | None, encoder: "Encoder", slides: SlideSource | None, *, any_mpp: bool
) -> None:
    """Compare the scale that slides are cut at with that of the encoder and of the index.

    Warns of a difference of more than 5 %.

    Args:
        index: the index that the tiles are added to; None for a new or replaced one.
        encoder: the encoder of the build.
        slides: how slides are cut; None if none are.
        any_mpp: accept any difference.

    Raises:
        InputError: they differ by more than a factor of 1.5.
    """
    if slides is None:
        return
    size, resize_px = slides.options.tile_size, encoder.config.preprocessing.resize_px
    own = network_scale(slides.options.mpp, size, size, resize_px=resize_px)
    others = {"the encoder": _point(encoder.config.mpp)}
    if index is not None and (index / MANIFEST_NAME).exists():
        scale = index_scale(OpenIndex(index))
        others["the index"] = None if scale is None else scale.um_per_px
    for name, other in others.items():
        check = compare_scales(own, other, name="the cut", other_name=name)
        if check.is_refused and not any_mpp:
            raise InputError(f"--mpp {slides.options.mpp:g}: {check.message}; {ANY_MPP}")
        if check.ratio is not None and check.message:
            _log.warning("--mpp %g: %s", slides.options.mpp, check.message)


def _compare_range(
    own: Scale | None, other: tuple[float, float] | None, other_name: str
) -> ScaleCheck:
    """Compare the end of a scale that is further from another one."""
    ends = (None,) if own is None else own.um_per_px
    found = [compare_scales(end, other, name="the index", other_name=other_name) for end in ends]
    return max(found, key=lambda check: check.ratio or 0.0)


def _point(mpp: float | None) -> tuple[float, float] | None:
    return None if mpp is None else (mpp, mpp)
