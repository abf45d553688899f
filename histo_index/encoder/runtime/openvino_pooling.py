"""Pooling in an OpenVINO graph, as `Trunk` computes it."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.encoder.config import (
    MEAN,
    POOLED_STAGES,
    PROJECTION_PREFIX,
    SECOND_PART_LENGTH,
    has_projection,
)
from histo_index.encoder.covariance_sketch import draw_sketch
from histo_index.encoder.runtime.openvino_import import opset13 as ops
from histo_index.encoder.weights_file import Weights

# Default of BatchNorm1d and BatchNorm2d in torch.
BATCH_NORM_EPSILON: Final = 1e-5


def pool(stages: Sequence[Any], pooling: str, weights: Weights) -> Any:
    """Pool the features [B, C, H, W] of the stages to embeddings [B, D].

    Raises:
        KeyError: a weight of the projection is missing.
    """
    if pooling == MEAN:
        return ops.reduce_mean(stages[-1], [2, 3], False)
    parts = []
    for stage in POOLED_STAGES[pooling]:
        parts.append(pool_map(stages[stage - 1]))
    if has_projection(pooling):
        mean = _scale_to_unit(
            ops.reduce_mean(stages[POOLED_STAGES[pooling][-1] - 1], [2, 3], False)
        )
        length = np.float32(len(parts) ** 0.5)
        projected = _project(ops.concat([*parts, mean], 1), weights)
        parts.append(ops.multiply(projected, ops.constant(length)))
    return ops.concat(parts, 1)


def pool_map(x: Any) -> Any:
    """Pool features [B, C, H, W] to the sketch of their covariances, [B, 512] of unit length."""
    centred = ops.subtract(x, ops.reduce_mean(x, [2, 3], True))
    return _scale_to_unit(_sketch_covariances(centred))


def pool_second(maps: Any) -> list[Any]:
    """Pool the maps of the second network: [B, SECOND_CHANNELS] and [B, 512]."""
    parts = _scale_to_unit(ops.reduce_mean(maps, [2, 3], False)), pool_map(maps)
    length = ops.constant(np.float32(SECOND_PART_LENGTH))
    return [ops.multiply(part, length) for part in parts]


def _project(pooled: Any, weights: Weights) -> Any:
    """Build the learned projection, its batch norm folded into its first layer."""
    part = {
        name.removeprefix(PROJECTION_PREFIX): weights[name].astype(np.float64)
        for name in weights
        if name.startswith(PROJECTION_PREFIX)
    }
    # In float64, so that the folded weights are rounded only once.
    gain = part["norm.weight"] / np.sqrt(part["norm.running_var"] + BATCH_NORM_EPSILON)
    shift = part["norm.bias"] - part["norm.running_mean"] * gain
    first = part["hidden.weight"] * gain, part["hidden.bias"] + part["hidden.weight"] @ shift
    hidden = ops.gelu(_linear(pooled, *first), "erf")
    return _scale_to_unit(_linear(hidden, part["output.weight"], part["output.bias"]))


def _linear(x: Any, weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Any:
    product = ops.matmul(x, ops.constant(weight.astype(np.float32)), False, True)
    return ops.add(product, ops.constant(bias.astype(np.float32)))


def _scale_to_unit(x: Any) -> Any:
    return ops.normalize_l2(x, [1], 1e-12, "max")


def _sketch_covariances(centred: Any) -> Any:
    batch, channels, height, width = centred.get_output_shape(0)
    sketch = draw_sketch(channels)
    kernel = np.ascontiguousarray(sketch.sums.T)[:, :, None, None]
    summed = ops.convolution(centred, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    flat = ops.reshape(summed, [batch, kernel.shape[0], height * width], False)
    products = ops.reshape(ops.matmul(flat, flat, False, True), [batch, -1], False)
    taken = ops.gather(products, ops.constant(sketch.order), ops.constant(np.int64(1)))
    return ops.reduce_sum(ops.multiply(taken, ops.constant(sketch.signs)), [2], False)
