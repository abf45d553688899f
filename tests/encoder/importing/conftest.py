"""Tiny networks of other libraries as files, and imports in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import load_encoder
from histo_index.encoder.importing.foreign import import_foreign
from histo_index.encoder.importing.onnx_file import read_onnx
from histo_index.encoder.importing.options import ImportOptions
from histo_index.encoder.importing.tensors import read_tensors
from histo_index.encoder.weights_file import Weights

SIDE = 32
WriteOnnx = Callable[..., Path]
ImportHere = Callable[..., Encoder]


def read_here(job: str, path: Path, words: Sequence[str] = (), **_: Any) -> Weights:
    """Read a file as the child does, in this process, whose torch is loaded."""
    return read_onnx(path, *words) if job == "onnx" else read_tensors(path)


@pytest.fixture
def import_here(tmp_path: Path) -> ImportHere:
    """Import a source in this process, and open the encoder in float32."""

    def run(source: str, *, device: str = "cpu", **options: Any) -> Encoder:
        output = tmp_path / "encoder"
        import_foreign(source, output, ImportOptions(**options), read=read_here)
        return Encoder(load_encoder(output), device=device, precision="float32")

    return run


@pytest.fixture
def write_onnx(tmp_path: Path) -> WriteOnnx:
    """Write a convolution `stage`, its ReLU `active`, the mean `features`, and `tokens`."""

    def write(
        name: str = "tiny.onnx",
        *,
        shape: Sequence[Any] = ("batch", 3, SIDE, SIDE),
        kind: int = TensorProto.FLOAT,
        outputs: Sequence[str] = ("features",),
        change: Callable[[Any], None] = lambda model: None,
    ) -> Path:
        kernel = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32) / 5
        is_last = len(shape) == 4 and shape[3] == 3
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["pixels"], perm=[0, 3, 1, 2])
            if is_last
            else helper.make_node("Identity", ["float"], ["pixels"]),
            helper.make_node("Conv", ["pixels", "kernel"], ["stage"], strides=[4, 4]),
            helper.make_node("Relu", ["stage"], ["active"]),
            helper.make_node("ReduceMean", ["active"], ["features"], axes=[2, 3], keepdims=0),
            helper.make_node("Flatten", ["active"], ["flat"], axis=2),
            helper.make_node("Reshape", ["active", "rows"], ["lines"]),
            helper.make_node("Transpose", ["lines"], ["tokens"], perm=[0, 2, 1]),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", kind, list(shape))],
            [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in outputs],
            [
                numpy_helper.from_array(kernel, "kernel"),
                numpy_helper.from_array(np.array([1, 8, -1], np.int64), "rows"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        change(model)
        (tmp_path / name).write_bytes(model.SerializeToString())
        return tmp_path / name

    return write


def kernel_of(path: Path) -> Any:
    """The weights of the convolution, float32 [8, 3, 3, 3]."""
    return numpy_helper.to_array(onnx.load(path).graph.initializer[0])
