"""Measure the peak operations per second of the cores in each precision of the encoder."""

from typing import Any, Final

import measuring
import numpy as np

from histo_index.encoder.runtime.openvino_import import opset13 as ops
from histo_index.encoder.runtime.openvino_import import ov
from histo_index.hardware import usable_cores

# Rows, width and depth of chained matrix products: the best of some tried here. A chain of them
# spends little on turning its first input from float32.
_PEAK_SHAPE: Final = (4096, 512, 8)
_PEAK_RUNS: Final = {"float32": 8, "bfloat16": 40}


def peak_job(precision: str) -> measuring.Job:
    """Multiply large matrices on all cores, one single-threaded stream each, as the encoder runs.

    Its items are operations: a multiply and an add are two.
    """
    rows, width, depth = _PEAK_SHAPE
    cores, runs = usable_cores(), _PEAK_RUNS[precision]
    compiled = ov.Core().compile_model(
        _product_chain(),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
        },
    )
    requests = [compiled.create_infer_request() for _ in range(cores)]
    matrix = np.random.default_rng(0).standard_normal((rows, width), np.float32)

    def work(number: int) -> None:
        for _ in range(runs):
            requests[number].infer({0: matrix}, share_inputs=True)

    def job() -> int:
        measuring.split_work(work, workers=cores)
        return 2 * rows * width * width * depth * runs * cores

    return job


def _product_chain() -> Any:
    rows, width, depth = _PEAK_SHAPE
    x = y = ops.parameter([rows, width], np.float32)
    for seed in range(depth):
        weights = np.random.default_rng(seed).standard_normal((width, width), np.float32)
        weights /= np.float32(np.sqrt(width))
        y = ops.matmul(y, ops.constant(weights), False, False)
    return ov.Model([y], [x], "peak")
