"""Pooling in an OpenVINO graph, as `Trunk` computes it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from histo_index.encoder.config import MEAN, POOLED_STAGES
from histo_index.encoder.covariance_sketch import draw_sketch
from histo_index.encoder.runtime.openvino_import import opset13 as ops


def pool(stages: Sequence[Any], pooling: str) -> Any:
    """Pool the features [B, C, H, W] of the stages to embeddings [B, D]."""
    if pooling == MEAN:
        return ops.reduce_mean(stages[-1], [2, 3], False)
    parts = []
    for stage in POOLED_STAGES[pooling]:
        parts.append(pool_map(stages[stage - 1]))
    return ops.concat(parts, 1)


def pool_map(x: Any) -> Any:
    """Pool features [B, C, H, W] to the sketch of their covariances, [B, 512] of unit length."""
    centred = ops.subtract(x, ops.reduce_mean(x, [2, 3], True))
    return ops.normalize_l2(_sketch_covariances(centred), [1], 1e-12, "max")


def _sketch_covariances(centred: Any) -> Any:
    batch, channels, height, width = centred.get_output_shape(0)
    sketch = draw_sketch(channels)
    kernel = np.ascontiguousarray(sketch.sums.T)[:, :, None, None]
    summed = ops.convolution(centred, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    flat = ops.reshape(summed, [batch, kernel.shape[0], height * width], False)
    products = ops.reshape(ops.matmul(flat, flat, False, True), [batch, -1], False)
    taken = ops.gather(products, ops.constant(sketch.order), ops.constant(np.int64(1)))
    return ops.reduce_sum(ops.multiply(taken, ops.constant(sketch.signs)), [2], False)
