"""Self-test tiles: five rendered images whose embeddings are stored when an encoder is imported."""

from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.encoder.foreign import LOWEST_COSINES, ForeignNetwork, lowest_cosine
from histo_index.encoder.runtime.choose import Runtime
from histo_index.errors import MismatchError

TILES: Final = 5
# Colours of haematoxylin, eosin and background, dark to light.
_PALETTE: Final = np.array(
    [[58, 36, 110], [118, 70, 150], [205, 110, 165], [236, 190, 215], [244, 240, 244]], np.int64
)


def render_self_test(side: int) -> Pixels:
    """Render the self-test tiles: smooth noise of five grain sizes in the colours of H&E.

    Only whole numbers are computed, so every machine gets the same pixels.

    Args:
        side: S, in pixels.

    Returns:
        uint8 RGB [5, S, S, 3].
    """
    random = np.random.RandomState(32)  # the legacy generator: the same in every release of numpy
    tiles = []
    for grains in (4, 8, 16, 32, 64):
        layers = []
        for _ in range(2):
            noise = random.randint(0, 256, (grains, grains)).astype(np.uint8)
            smooth = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
            layers.append(np.asarray(smooth).astype(np.int64))
        # Between two neighbours of the palette, by the first layer; the second darkens.
        step, rest = np.divmod(layers[0] * 4, 256)
        low, high = _PALETTE[step], _PALETTE[np.minimum(step + 1, 4)]
        colour = (low * (256 - rest[..., None]) + high * rest[..., None]) // 256
        tiles.append(colour * (224 + layers[1][..., None] // 8) // 256)
    return np.stack(tiles).astype(np.uint8)


def measure_runtime(runtime: Runtime, foreign: ForeignNetwork, *, side: int) -> float:
    """Encode the self-test tiles and compare them with the stored embeddings.

    Returns:
        The lowest cosine; NaN if an embedding is not finite.
    """
    tiles = render_self_test(side)
    batches = [tiles[at : at + runtime.batch] for at in range(0, TILES, runtime.batch)]
    found = np.concatenate([runtime.embed(batch) for batch in batches])
    return lowest_cosine(found, foreign.test_embeddings)


def require_agreement(precision: str, cosine: float, *, name: str) -> None:
    """Check that a runtime computes what the reference computed at import.

    Raises:
        MismatchError: the cosine is too low.
    """
    lowest = LOWEST_COSINES[precision]
    if not cosine >= lowest:
        raise MismatchError(
            f"{name} in {precision}: self-test tiles agree with the reference to a cosine of "
            f"{cosine:.5f}, expected {lowest} or more; pass --precision float32, or import the "
            "encoder again"
        )
