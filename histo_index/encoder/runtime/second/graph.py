"""The second network as an OpenVINO graph, as `SecondNetwork` computes it."""

from typing import Any

import numpy as np

from histo_index.encoder.config import SECOND_PREFIX
from histo_index.encoder.runtime.openvino_import import opset1
from histo_index.encoder.runtime.openvino_import import opset13 as ops
from histo_index.encoder.runtime.openvino_pixels import PixelLayer, convolve_pixels
from histo_index.encoder.runtime.second.layers import BLOCKS, MOST, Layer
from histo_index.encoder.weights_file import Weights


def build_second(weights: Weights, image: Any) -> Any:
    """Build the graph from uint8 [B, S, S, 3] to the predicted maps [B, SECOND_CHANNELS, H, W].

    Raises:
        KeyError: a weight is missing.
    """
    x = _first_layer(image, BLOCKS[0].layers[0], weights)
    for block in BLOCKS[1:]:
        y = x
        for layer in block.layers:
            y = _convolve(y, layer, weights)
        x = ops.add(x, y) if block.has_shortcut else y
    return x


def _first_layer(image: Any, layer: Layer, weights: Weights) -> Any:
    middle = (0.5, 0.5, 0.5)
    kernel, bias = _read(layer, weights)
    pixel_layer = PixelLayer(
        kernel=kernel, bias=bias, mean=middle, std=middle, padding=layer.padding
    )
    return opset1.clamp(convolve_pixels(image, pixel_layer), 0.0, MOST)


def _convolve(x: Any, layer: Layer, weights: Weights) -> Any:
    kernel, bias = _read(layer, weights)
    before, after = ([pad, pad] for pad in layer.padding)
    geometry = ([layer.stride, layer.stride], before, after, [1, 1])
    if layer.is_depthwise:
        grouped = kernel.reshape(layer.outputs, 1, *layer.shape[1:])
        y = ops.group_convolution(x, _constant(grouped), *geometry)
    else:
        y = ops.convolution(x, _constant(kernel), *geometry)
    y = ops.add(y, _constant(bias.reshape(1, -1, 1, 1)))
    return opset1.clamp(y, 0.0, MOST) if layer.is_clipped else y


def _read(layer: Layer, weights: Weights) -> tuple[Any, Any]:
    name = f"{SECOND_PREFIX}{layer.name}"
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _constant(values: Any) -> Any:
    return ops.constant(np.asarray(values, np.float32))
