"""The dyes, the glass and the camera: from dye amounts to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64
from histo_index.demo.cells import Section

# Optical density of the dyes in red, green and blue.
# Source: Ruifrok & Johnston (2001), Quantification of histochemical staining by
# color deconvolution, table 1.
_HEMATOXYLIN = (0.65, 0.70, 0.29)
_EOSIN = (0.07, 0.99, 0.11)
# Slides are drawn from between these and a warmer pair.
# Source: Macenko et al. (2009), A method for normalizing histology slides for
# quantitative analysis; the reference vectors of the authors' published code.
_HEMATOXYLIN_MACENKO = (0.5626, 0.7201, 0.4062)
_EOSIN_MACENKO = (0.2159, 0.8012, 0.5581)

# What `Stain()` means: midway between the two pairs, eosin a third weaker.
_HEMATOXYLIN_STANDARD = (0.61, 0.71, 0.35)
_EOSIN_STANDARD = (0.10, 0.60, 0.22)

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Stain:
    """How one slide was stained and scanned.

    Attributes:
        hematoxylin: optical density per unit of hematoxylin in red, green, blue.
        eosin: optical density per unit of eosin in red, green, blue.
        glass: brightness of empty glass in red, green, blue, 0 to 255.
        blur_px: standard deviation of the optical blur in pixels.
        noise: standard deviation of the camera noise in grey levels.
    """

    hematoxylin: Colour = _HEMATOXYLIN_STANDARD
    eosin: Colour = _EOSIN_STANDARD
    glass: Colour = (244.0, 243.0, 245.0)
    blur_px: float = 0.6
    noise: float = 2.0

    @classmethod
    def of_slide(cls, seed: int) -> Stain:
        """Draw the stain of one synthetic slide; the same seed gives the same stain."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x51A1D])))
        hematoxylin = _mix(rng, (_HEMATOXYLIN, _HEMATOXYLIN_MACENKO)) * rng.uniform(0.75, 1.25)
        eosin = _mix(rng, (_EOSIN, _EOSIN_MACENKO)) * rng.uniform(0.4, 0.85)
        glass = rng.uniform(228, 250) + rng.uniform(-4, 4, 3)
        return cls(
            hematoxylin=_colour(hematoxylin),
            eosin=_colour(eosin),
            glass=_colour(glass),
            blur_px=float(rng.uniform(0.4, 1.0)),
            noise=float(rng.uniform(1.0, 4.0)),
        )


def _mix(rng: np.random.Generator, ends: tuple[Colour, Colour]) -> Float64:
    share = rng.uniform(0.15, 1)
    vector = np.array(ends[0]) * (1 - share) + np.array(ends[1]) * share
    vector = np.clip(vector + rng.uniform(-0.04, 0.04, 3), 0.02, None)
    length = float(np.sqrt(np.sum(vector**2)))
    return vector / length


def _colour(values: Float64) -> Colour:
    red, green, blue = values.tolist()
    return (red, green, blue)


def photograph(
    section: Section, stain: Stain, *, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Photograph a stained section.

    Light through a dye is weakened by 10 to the minus its optical density
    (Beer-Lambert); the lens blurs, the camera adds noise.

    Returns:
        uint8 RGB [H, W, 3].
    """
    h, e = (np.clip(dye, 0, 1.6) for dye in (section.hematoxylin, section.eosin))
    # One plane after the other: arrays whose last axis is three long are slow.
    planes = []
    for of_h, of_e, glass in zip(stain.hematoxylin, stain.eosin, stain.glass, strict=True):
        light = np.exp((h * of_h + e * of_e) * -np.log(10.0)) * glass
        planes.append(_blur(_blur(light, stain.blur_px, axis=0), stain.blur_px, axis=1))
    noise = rng.standard_normal((*h.shape, 3))
    noise *= stain.noise
    noise += np.stack(planes, axis=-1)
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def _blur(image: Float64, sigma_px: float, *, axis: int) -> Float64:
    weights = np.exp(-0.5 * (np.arange(-2, 3) / sigma_px) ** 2)
    weights /= weights.sum()
    pad = [(0, 0)] * image.ndim
    pad[axis] = (2, 2)
    padded = np.pad(image, pad, mode="edge")
    blurred = np.zeros_like(image)
    for start, weight in enumerate(weights.tolist()):
        shifted = [slice(None)] * image.ndim
        shifted[axis] = slice(start, start + image.shape[axis])
        blurred += weight * padded[tuple(shifted)]
    return blurred
