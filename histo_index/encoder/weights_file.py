"""The file with the weights of an encoder: safetensors, or a whole ONNX file."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from histo_index.errors import IndexFormatError

Weights = dict[str, npt.NDArray[Any]]

WEIGHTS_NAME: Final = "model.safetensors"
# The weights of an ONNX network are the bytes of its file, under this name in `Weights` too.
ONNX_NAME: Final = "model.onnx"


def read_weights(path: Path) -> Weights:
    """Read the file with the weights.

    Raises:
        IndexFormatError: it is missing or damaged.
    """
    try:
        data = path.read_bytes()
        if path.name == ONNX_NAME:
            return {ONNX_NAME: np.frombuffer(data, np.uint8)}
        return unpack_weights(data)
    except (OSError, ValueError) as error:
        raise IndexFormatError(f"{path}: cannot be read ({error}); restore the file") from error


def pack_weights(weights: Weights) -> bytes:
    """Serialise weights as safetensors."""
    # safetensors ignores strides: a channels-last array would come back with its axes mixed up.
    data: bytes = save_safetensors(
        {name: np.asarray(array, order="C") for name, array in weights.items()}
    )
    return data


def unpack_weights(data: bytes) -> Weights:
    """Read weights from safetensors.

    Raises:
        ValueError: the bytes are not valid safetensors.
    """
    try:
        weights: Weights = load_safetensors(data)
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error
    return weights
