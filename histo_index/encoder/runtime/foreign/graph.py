"""A foreign network as an OpenVINO model."""

import warnings
from typing import Any

import torch

from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import ONNX
from histo_index.encoder.runtime.foreign.onnx_graph import build_onnx_graph
from histo_index.encoder.runtime.foreign.torch_network import load_foreign
from histo_index.encoder.runtime.openvino_import import ov


def build_foreign_graph(encoder: EncoderFolder) -> Any:
    """Build an OpenVINO model: uint8 [1, S, S, 3] in, float32 [1, D] out.

    Raises:
        InputError: the library that defines the network is not installed.
        MismatchError: weights and network do not fit, or OpenVINO cannot run it.
    """
    config = encoder.config
    assert config.foreign is not None
    if config.foreign.source == ONNX:
        return build_onnx_graph(config, encoder.weights)
    shape = [1, config.preprocessing.crop_px, config.preprocessing.crop_px, 3]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of what fixed shapes make right
        return ov.convert_model(
            load_foreign(config, encoder.weights),
            example_input=torch.zeros(shape, dtype=torch.uint8),
            input=shape,
        )
