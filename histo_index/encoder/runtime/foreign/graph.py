"""A foreign network as an OpenVINO model; one of torch is converted once, see `kept_networks`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import CUSTOM, ONNX
from histo_index.encoder.runtime.kept_networks import (
    cache_folder,
    keep,
    read_kept,
    write_and_read,
)
from histo_index.encoder.runtime.openvino_import import ov


def build_foreign_graph(encoder: EncoderFolder) -> Any:
    """Build an OpenVINO model: uint8 [1, S, S, 3] in, float32 [1, D] out.

    Raises:
        InputError: the library that defines the network is not installed, and no converted model is
            kept.
        MismatchError: weights and network do not fit, or OpenVINO cannot run it.
    """
    config = encoder.config
    assert config.foreign is not None
    if config.foreign.source == ONNX:
        from histo_index.encoder.runtime.foreign.onnx_graph import build_onnx_graph

        return build_onnx_graph(config, encoder.weights)

    def convert() -> Any:
        from histo_index.encoder.runtime.foreign.torch_network import convert_network

        return convert_network(config, encoder.weights)

    # Code of the user is asked for each time. While it is imported, an encoder has no fingerprint.
    if config.foreign.source == CUSTOM or not encoder.fingerprint:
        return convert()
    return _convert_once(encoder.fingerprint, convert)


def _convert_once(fingerprint: str, convert: Callable[[], Any]) -> Any:
    """Read the converted model of an encoder, or convert and keep it.

    The model is always one that was read from files: as it leaves the conversion, OpenVINO computes
    other last bits with it.
    """
    name = f"{fingerprint}-openvino-{ov.__version__.split('-')[0]}"
    folder = cache_folder()
    model = None if folder is None else read_kept(folder / name)
    if model is not None:
        return model
    converted = convert()
    if folder is not None:
        keep(folder / name, converted)
        model = read_kept(folder / name)
    if model is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            model = write_and_read(converted, Path(scratch) / name)
    return model
