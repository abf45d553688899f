"""Compare scales where the network sees them.

Every tile is resized to the input of the encoder, so what counts is microns per pixel of that
input, not of the tile.
"""

from dataclasses import dataclass
from typing import Final

WARNED: Final = 1.05
REFUSED: Final = 1.5
UNCHECKED: Final = "scale unchecked"


@dataclass(frozen=True, kw_only=True)
class ScaleCheck:
    """How two scales compare.

    Attributes:
        ratio: the coarser scale over the finer one; None if one is unknown.
        message: what to say; empty if they agree.
    """

    ratio: float | None
    message: str

    @property
    def is_refused(self) -> bool:
        """Whether they differ too much to be compared."""
        return self.ratio is not None and self.ratio > REFUSED


def network_scale(mpp: float, width: int, height: int, *, resize_px: int) -> float:
    """Return microns per pixel of the network's input, for a tile of a scale and size."""
    return mpp * min(width, height) / resize_px


def compare_scales(
    own: float | None, other: float | None, *, name: str, other_name: str
) -> ScaleCheck:
    """Compare two scales in microns per network pixel.

    Args:
        own: the first; None if unknown.
        other: the second; None if unknown.
        name: what has the first scale.
        other_name: what has the second.
    """
    if own is None or other is None:
        unknown = name if own is None else other_name
        return ScaleCheck(
            ratio=None, message=f"{UNCHECKED}: microns per pixel of {unknown} are unknown"
        )
    ratio = max(own, other) / min(own, other)
    if ratio <= WARNED:
        return ScaleCheck(ratio=ratio, message="")
    message = (
        f"{name} has {own:.3g} µm per network pixel, {other_name} has {other:.3g}: "
        f"a factor of {ratio:.2f}"
    )
    return ScaleCheck(ratio=ratio, message=message)
