"""An ONNX network as an OpenVINO model, with normalisation and pooling."""

from typing import Any

import numpy as np

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.foreign import Features, parse_features
from histo_index.encoder.runtime.openvino_import import opset13 as ops
from histo_index.encoder.runtime.openvino_import import ov
from histo_index.encoder.runtime.openvino_pooling import pool_map
from histo_index.encoder.weights_file import ONNX_NAME, Weights
from histo_index.errors import MismatchError


def build_onnx_graph(config: EncoderConfig, weights: Weights) -> Any:
    """Build an OpenVINO model: uint8 [1, S, S, 3] in, float32 [1, D] out.

    Raises:
        MismatchError: OpenVINO cannot run the network on one image of this size.
    """
    assert config.foreign is not None
    spec, arguments = config.preprocessing, config.foreign.arguments
    side, is_nchw = spec.crop_px, arguments["layout"] == "NCHW"
    try:
        model = ov.Core().read_model(weights[ONNX_NAME].tobytes(), b"")
        model.reshape([1, 3, side, side] if is_nchw else [1, side, side, 3])
        steps = ov.preprocess.PrePostProcessor(model)
        image = steps.input()
        image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        image.model().set_layout(ov.Layout(arguments["layout"]))
        if arguments["type"] == "float32":
            image.preprocess().convert_element_type(ov.Type.f32).mean(
                [255 * value for value in spec.mean]
            ).scale([255 * value for value in spec.std])
        model = steps.build()
        outputs = [result.input_value(0) for result in model.get_results()]
        embedding = pool_outputs(outputs, parse_features(config.pooling))
        return ov.Model([embedding], model.get_parameters(), "onnx")
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-300:]
        raise MismatchError(
            f"{config.architecture}: OpenVINO cannot run it on one image of {side} px: {reason}; "
            "export it with a dynamic batch, or a batch of 1"
        ) from error


def pool_outputs(outputs: list[Any], features: Features) -> Any:
    """Pool the outputs of the graph as `features.pool_features` does."""
    if features.kind == "map":
        return ops.concat([pool_map(output) for output in outputs], 1)
    (x,) = outputs
    rank = len(x.get_partial_shape())
    if features.kind == "output":
        embedding = x if rank == 2 else ops.squeeze(x, [2, 3])
    elif rank == 4:
        embedding = ops.reduce_mean(x, [2, 3], False)
    else:
        first = ops.squeeze(ops.gather(x, np.array([0]), np.array(1)), [1])
        mean = ops.reduce_mean(_without_first(x), [1], False)
        parts = {"cls": [first], "cls+mean": [first, mean]}
        embedding = ops.concat(parts.get(features.kind, [ops.reduce_mean(x, [1], False)]), 1)
    return ops.convert(embedding, np.float32)


def _without_first(x: Any) -> Any:
    return ops.slice(x, np.array([1]), np.array([2**31 - 1]), np.array([1]), np.array([1]))
