"""Read a tissue mask that the user drew."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.overview import picture_size
from histo_index.slides.tissue.mask import TissueMask

# A mask is a small picture of a slide.
_LARGEST_PX = 2**27


def read_mask(path: Path, info: SlideInfo, mpp: float) -> TissueMask:
    """Read a mask of the whole plane: what is brighter than half of its brightest is tissue.

    Args:
        path: a PNG or TIFF of any size; its corners are those of the slide.
        info: the slide.
        mpp: microns per pixel of the result.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with Image.open(path, formats=("PNG", "TIFF", "BMP", "JPEG")) as image:
            if image.width * image.height > _LARGEST_PX:
                raise ImageError(f"{path}: too large: {image.width}×{image.height} pixels")
            grey = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path}: the mask cannot be read ({error}); save it as PNG") from error
    # Programs write tissue as 255, or as 1.
    drawn = (grey > grey.max() / 2).astype(np.uint8)
    scale, bounds = info.require_scale(), info.bounds
    # The part of the mask that shows the bounds.
    across, down = drawn.shape[1] / info.width, drawn.shape[0] / info.height
    left, top = round(bounds.x * across), round(bounds.y * down)
    right = max(round((bounds.x + bounds.width) * across), left + 1)
    bottom = max(round((bounds.y + bounds.height) * down), top + 1)
    size = picture_size(bounds, (scale.x, scale.y), mpp)
    part = drawn[top:bottom, left:right].astype(np.float32)
    tissue = cv2.resize(part, size, interpolation=cv2.INTER_AREA) >= 0.5
    return TissueMask(tissue=tissue, pen=np.zeros(tissue.shape, bool), mpp=mpp, problems=())
