"""The first convolution of a network on its pixels, exact also where OpenVINO computes in bfloat16.

bfloat16 holds whole numbers up to 256 exactly. A normalised pixel is wrong by up to half a grey
level in it; in pale tiles that is much. So the mean is subtracted as a whole number. The rest of it
and the spread are folded into the kernel.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64
from histo_index.encoder.runtime.openvino_import import opset13 as ops

_STRIDE: Final = 2


@dataclass(frozen=True, kw_only=True)
class PixelLayer:
    """A first convolution of stride 2, as it is applied to normalised pixels.

    Attributes:
        kernel: float [C, 3, K, K].
        bias: float [C].
        mean: of the pixels, 0 to 1, for each channel.
        std: of the pixels, 0 to 1, for each channel.
        padding: pixels before and after, along both sides, in which the normalised image is 0.
    """

    kernel: npt.NDArray[Any]
    bias: npt.NDArray[Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    padding: tuple[int, int]


def convolve_pixels(image: Any, layer: PixelLayer) -> Any:
    """Build the convolution of uint8 [B, S, S, 3]: float32 [B, C, S / 2, S / 2]."""
    mean, std = 255 * np.array(layer.mean), 255 * np.array(layer.std)
    whole = np.round(mean)
    kernel = layer.kernel / std[:, None, None]
    bias = layer.bias + (kernel * (whole - mean)[:, None, None]).sum(axis=(1, 2, 3))
    pixels = ops.transpose(ops.convert(image, np.float32), [0, 3, 1, 2])
    pixels = ops.subtract(pixels, _constant(whole.reshape(1, 3, 1, 1)))
    padded = _pad(pixels, layer.padding, mean - whole)
    # The kernel too is given as two that bfloat16 holds: it decides what all later layers see.
    coarse = _round_to_bfloat16(kernel)
    both = np.concatenate([coarse, kernel - coarse], axis=1)
    y = ops.convolution(
        ops.concat([padded, padded], 1), _constant(both), [_STRIDE] * 2, [0, 0], [0, 0], [1, 1]
    )
    return ops.add(y, _constant(bias.reshape(1, -1, 1, 1)))


def _pad(pixels: Any, padding: tuple[int, int], rest: Float64) -> Any:
    """Pad with the mean itself, as the reference does, not with its whole number."""
    before, after = ([0, 0, pad, pad] for pad in padding)
    height, width = pixels.get_output_shape(0)[2:]
    border = np.ones((1, 3, height + sum(padding), width + sum(padding)))
    border[:, :, before[2] : before[2] + height, before[3] : before[3] + width] = 0
    padded = ops.pad(pixels, before, after, "constant", np.float32(0))
    return ops.add(padded, _constant(border * rest[:, None, None]))


def _round_to_bfloat16(values: Float64) -> Float64:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def _constant(values: Float64) -> Any:
    return ops.constant(values.astype(np.float32))
