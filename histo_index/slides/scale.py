"""Compare scales where the network sees them.

Every tile is resized to the input of the encoder, so what counts is microns per pixel of that
input, not of the tile.
"""

from dataclasses import dataclass
from typing import Final, Self

WARNED: Final = 1.05
REFUSED: Final = 1.5
UNCHECKED: Final = "scale unchecked"
ANY_MPP: Final = "pass tiles of one scale, or --any-mpp to compare them nevertheless"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale of some tiles, where the network sees them.

    Attributes:
        um_per_px: microns per pixel of the network's input: of the finest tile, of the coarsest.
        field_um: side of what the network sees of a tile in µm: the smallest, the largest.
    """

    um_per_px: tuple[float, float]
    field_um: tuple[float, float]

    @classmethod
    def of(cls, finest: float, coarsest: float, *, crop_px: int) -> Self:
        """Build from two scales in microns per network pixel and the side of the input."""
        return cls(um_per_px=(finest, coarsest), field_um=(finest * crop_px, coarsest * crop_px))


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
    own: float | None, other: tuple[float, float] | None, *, name: str, other_name: str
) -> ScaleCheck:
    """Compare a scale with those of some tiles, in microns per network pixel.

    Args:
        own: the first; None if unknown.
        other: the finest and the coarsest of the others; None if unknown.
        name: what has the first scale.
        other_name: what has the others.
    """
    if own is None or other is None:
        unknown = name if own is None else other_name
        return ScaleCheck(
            ratio=None, message=f"{UNCHECKED}: microns per pixel of {unknown} are unknown"
        )
    finest, coarsest = other
    ratio = max(own / coarsest, finest / own, 1.0)
    if ratio <= WARNED:
        return ScaleCheck(ratio=ratio, message="")
    range_text = f"{finest:.3g}" if finest == coarsest else f"{finest:.3g} to {coarsest:.3g}"
    message = (
        f"{name} has {own:.3g} µm per pixel as the encoder sees it, "
        f"{other_name} has {range_text}: a factor of {ratio:.2f}"
    )
    return ScaleCheck(ratio=ratio, message=message)
