"""The fast CPU runtime: the trunk as an OpenVINO graph, built from the weights without torch.

Every request has the same number of images, because embeddings from requests of different size
differ in the last bit. A graph converted from torch is no faster: docs/benchmarks.md, Encoding.
"""

import queue
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from histo_index.arrays import Float64, Pixels
from histo_index.encoder.config import SECOND, STAGES
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.runtime.openvino_import import opset1, ov
from histo_index.encoder.runtime.openvino_import import opset13 as ops
from histo_index.encoder.runtime.openvino_pixels import PixelLayer, convolve_pixels
from histo_index.encoder.runtime.openvino_pooling import BATCH_NORM_EPSILON, pool, pool_second
from histo_index.encoder.runtime.second.graph import build_second
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError
from histo_index.hardware import usable_cores

Precision = Literal["float32", "bfloat16"]

# Images per request below 224 px; from there on one image is as fast. See docs/benchmarks.md.
_SMALL_PX: Final = 224
_SMALL_BATCH: Final = 4
# Of the first convolution, as torchvision defines the networks.
_FIRST_PAD: Final = 3


class OpenVinoRuntime:
    """OpenVINO on the CPU: one single-threaded stream per core, the fastest on a busy machine."""

    device: Final = "cpu"

    def __init__(
        self, encoder: EncoderFolder, *, precision: Precision, graph: ov.Model | None = None
    ) -> None:
        """Compile the trunk.

        Args:
            encoder: the encoder to run.
            precision: of its features.
            graph: the encoder as `build_any_graph` builds it, which takes seconds for a foreign
                network; None to build it.

        Raises:
            InputError: bfloat16 is requested and this CPU lacks it.
            MismatchError: the weights do not fit the architecture.
        """
        if precision == "bfloat16" and not has_bfloat16():
            raise InputError("this CPU has no bfloat16; pass --precision auto or float32")
        self.precision = precision
        self.name = f"openvino {ov.__version__.split('-')[0]}"
        self.parallel = usable_cores()
        is_small = encoder.config.preprocessing.crop_px < _SMALL_PX
        self.batch = _SMALL_BATCH if is_small and encoder.config.foreign is None else 1
        compiled = ov.Core().compile_model(
            graph or build_any_graph(encoder, batch=self.batch),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
                "NUM_STREAMS": self.parallel,
                "INFERENCE_NUM_THREADS": self.parallel,
            },
        )
        self._requests: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(self.parallel):
            self._requests.put(compiled.create_infer_request())

    def embed(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Encode uint8 RGB [B, S, S, 3] to float32 [B, D]; fewer than `batch` are padded.

        Any number of threads may call this.
        """
        count = len(images)
        assert count <= self.batch, f"{count} images, at most {self.batch} per request"
        if count < self.batch:
            images = np.resize(images, (self.batch, *images.shape[1:]))
        request = self._requests.get()
        try:
            request.infer({0: images}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data[:count], np.float32)
        finally:
            self._requests.put(request)


def cpu_capabilities() -> list[str]:
    """Return the number formats that OpenVINO runs fast on this CPU, such as BF16 and INT8."""
    return list(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def has_bfloat16() -> bool:
    """Return whether the CPU computes in bfloat16; if not, float32 is faster."""
    return "BF16" in cpu_capabilities()


def build_any_graph(encoder: EncoderFolder, *, batch: int = 1) -> ov.Model:
    """Build our own trunk or a foreign network, which has one image per request.

    Raises:
        InputError: the library that defines a foreign network is not installed.
        MismatchError: the weights do not fit the architecture, or OpenVINO cannot run it.
    """
    if encoder.config.foreign is None:
        return build_graph(encoder, batch=batch)
    from histo_index.encoder.runtime.foreign.graph import build_foreign_graph

    return build_foreign_graph(encoder)


def build_graph(encoder: EncoderFolder, *, batch: int = 1) -> ov.Model:
    """Build one of our own trunks as an OpenVINO model: uint8 [B, S, S, 3] in, float32 [B, D] out.

    Batch norm is folded into the convolutions. The graph includes the normalisation of pixels.

    Args:
        encoder: the encoder to build.
        batch: B, images per request.

    Raises:
        MismatchError: the weights do not fit the architecture.
    """
    spec = encoder.config.preprocessing
    image = ops.parameter([batch, spec.crop_px, spec.crop_px, 3], np.uint8, name="image")
    try:
        stages = trace_trunk(encoder.weights, spec, image)
        embedding = pool(stages, encoder.config.pooling, encoder.weights)
        if encoder.config.pooling == SECOND:
            second = pool_second(build_second(encoder.weights, image))
            embedding = ops.concat([embedding, *second], 1)
        size = embedding.get_output_shape(0)[1]
    except KeyError as error:
        raise _mismatch(encoder, f"{error} is missing") from error
    if size != encoder.config.embedding_size:
        raise _mismatch(encoder, f"they give {size} features")
    return ov.Model([embedding], [image], "trunk")


def trace_trunk(weights: Weights, spec: Preprocessing, image: Any) -> list[Any]:
    """Return the features [B, C, H, W] of each stage in the weights."""
    layer = _Layer(weights)
    x = ops.relu(_first_layer(layer, spec, image))
    x = opset1.max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3])
    stages = []
    for stage in range(1, STAGES + 1):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in weights:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _residual_block(x, f"layer{stage}.{block}.", stride, layer)
            block += 1
        if block:
            stages.append(x)
    return stages


def _first_layer(layer: "_Layer", spec: Preprocessing, image: Any) -> Any:
    kernel, bias = layer.fold("conv1", "bn1")
    pads = (_FIRST_PAD, _FIRST_PAD)
    return convolve_pixels(
        image, PixelLayer(kernel=kernel, bias=bias, mean=spec.mean, std=spec.std, padding=pads)
    )


def _residual_block(x: Any, prefix: str, stride: int, layer: "_Layer") -> Any:
    """Build a bottleneck block (three convolutions) or a basic block (two) of ResNet."""
    is_bottleneck = f"{prefix}conv3.weight" in layer.weights
    first_stride, second_stride = (1, stride) if is_bottleneck else (stride, 1)
    pad = 0 if is_bottleneck else 1
    y = ops.relu(layer(x, f"{prefix}conv1", f"{prefix}bn1", stride=first_stride, pad=pad))
    y = layer(y, f"{prefix}conv2", f"{prefix}bn2", stride=second_stride, pad=1)
    if is_bottleneck:
        y = layer(ops.relu(y), f"{prefix}conv3", f"{prefix}bn3", stride=1, pad=0)
    if f"{prefix}downsample.0.weight" in layer.weights:
        x = layer(x, f"{prefix}downsample.0", f"{prefix}downsample.1", stride=stride, pad=0)
    return ops.relu(ops.add(x, y))


class _Layer:
    """A convolution with its batch norm folded in."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def __call__(self, x: Any, conv: str, norm: str, *, stride: int, pad: int) -> Any:
        kernel, bias = self.fold(conv, norm)
        geometry = ([stride, stride], [pad, pad], [pad, pad], [1, 1])
        out, per_group = kernel.shape[:2]
        groups = x.get_output_partial_shape(0)[1].get_length() // per_group
        filters = _constant(kernel)
        if groups == 1:
            y = ops.convolution(x, filters, *geometry)
        else:
            shape = np.array([groups, out // groups, *kernel.shape[1:]], np.int64)
            y = ops.group_convolution(x, ops.reshape(filters, shape, False), *geometry)
        return ops.add(y, _constant(bias.reshape(1, -1, 1, 1)))

    def fold(self, conv: str, norm: str) -> tuple[Float64, Float64]:
        """Fold a batch norm into its convolution: kernel [out, in / groups, h, w], bias [out].

        In float64, so that the folded weights are rounded only once.
        """
        parts = {
            part: self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        gain = parts["weight"] / np.sqrt(parts["running_var"] + BATCH_NORM_EPSILON)
        kernel = self.weights[f"{conv}.weight"] * gain[:, None, None, None]
        bias = parts["bias"] - parts["running_mean"] * gain
        return kernel, bias


def _constant(values: Float64) -> Any:
    return ops.constant(values.astype(np.float32))


def _mismatch(encoder: EncoderFolder, fault: str) -> MismatchError:
    return MismatchError(
        f"{encoder.path}: weights do not belong to {encoder.config.architecture}: {fault}; "
        "import the checkpoint again with its own --arch"
    )
