"""Images in memory as uint8 RGB pixels: Pillow images, arrays, tensors.

A channel axis has length 1 (grey), 3 (RGB) or 4 (RGBA, composited on white). An array may have it
last (H, W, C) or first (C, H, W); where both fit, it is last in an array and first in a tensor.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import one_line
from histo_index.encoder.decode.to_rgb import DECODE_FAULTS, upright_rgb
from histo_index.errors import ImageError, InputError

# A Pillow image, an array, or anything with `detach` and `numpy`, as a torch tensor has them.
ImageInMemory: TypeAlias = Any

_CHANNELS: Final = (1, 3, 4)
_EXPECTED: Final = (
    "expected a Pillow image, or uint8 values or floats from 0 to 1 as [H, W], [H, W, C] or "
    "[C, H, W] with 1, 3 or 4 channels"
)


def to_pixels(image: ImageInMemory) -> Pixels:
    """Convert an image in memory.

    Args:
        image: a Pillow image; or an array or tensor of uint8, or of floats from 0 to 1, of shape
            [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        ImageError: type, shape or values are not those of an image.
    """
    if isinstance(image, Image.Image):
        return _from_pillow(image)
    is_tensor = hasattr(image, "detach")
    array = _as_array(image, is_tensor=is_tensor)
    channels = _channels_last(array, is_tensor=is_tensor)
    if channels is None:
        raise ImageError(f"image: not an image: {_describe(image)}; {_EXPECTED}")
    pixels = _as_bytes(channels)
    if pixels.shape[2] == 3:
        return pixels
    return _from_pillow(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def list_images(images: Any) -> list[Any]:
    """List the images that a caller passed: one, or several of any kind.

    Args:
        images: one image or name; or a list, array, Series, generator or batch tensor of them.

    Raises:
        InputError: it is a table with several columns.
    """
    if isinstance(images, str | Path | Image.Image) or not isinstance(images, Iterable):
        return [images]
    if hasattr(images, "columns"):
        raise InputError("a table of images; pass the column that names them: table['path']")
    if hasattr(images, "dtype") and len(getattr(images, "shape", ())) in (0, 2, 3):
        return [images]
    # Arrow columns yield scalars of their own.
    return images.to_pylist() if hasattr(images, "to_pylist") else list(images)


def _from_pillow(image: Image.Image) -> Pixels:
    try:
        return upright_rgb(image, "image")[0]
    except DECODE_FAULTS as error:
        raise ImageError(f"image: cannot be turned into RGB ({one_line(error)})") from error


def _as_array(image: Any, *, is_tensor: bool) -> npt.NDArray[Any]:
    if not is_tensor:
        return np.asarray(image) if hasattr(image, "dtype") else np.empty(0)
    tensor = image.detach().cpu()
    # numpy has no bfloat16.
    array: npt.NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _channels_last(array: npt.NDArray[Any], *, is_tensor: bool) -> npt.NDArray[Any] | None:
    """Return an image as [H, W, C]; None if its type or shape is not that of an image."""
    is_known = array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)
    if not is_known or 0 in array.shape:
        return None
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim != 3:
        return None
    axes = [axis for axis in ((0, 2) if is_tensor else (2, 0)) if array.shape[axis] in _CHANNELS]
    if not axes:
        return None
    return np.moveaxis(array, axes[0], 2) if axes[0] != 2 else array


def _as_bytes(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise ImageError(
            f"image: floats from {low:g} to {high:g}; expected 0 to 1: divide by the largest "
            "value that white has, or pass uint8"
        )
    return np.ascontiguousarray(np.rint(array.astype(np.float32) * 255).astype(np.uint8))


def _describe(image: Any) -> str:
    kind = str(getattr(image, "dtype", type(image).__name__))
    return f"{kind} {list(getattr(image, 'shape', ()))}"
