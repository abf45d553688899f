"""The file with the weights of an encoder: safetensors, or a whole ONNX file."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.foreign import ONNX
from histo_index.errors import IndexFormatError, InputError

Weights = dict[str, npt.NDArray[Any]]

WEIGHTS_NAME: Final = "model.safetensors"
# The weights of an ONNX network are the bytes of its file, under this name in `Weights` too.
ONNX_NAME: Final = "model.onnx"
# The folder of weights whose licence forbids copies: an index copies no folders.
_GATED: Final = "weights"


def place_weights(folder: Path, config: EncoderConfig) -> Path:
    """Return where the weights of an encoder belong in its folder."""
    if config.foreign is None:
        return folder / WEIGHTS_NAME
    name = ONNX_NAME if config.foreign.source == ONNX else WEIGHTS_NAME
    return folder / _GATED / name if config.foreign.is_gated else folder / name


def find_weights(folder: Path, config: EncoderConfig) -> Path:
    """Find the weights: in the folder, or where a licence that forbids copies left them.

    Raises:
        InputError: the weights of such a licence are in neither place.
    """
    own = place_weights(folder, config)
    if config.foreign is None or config.foreign.weights_path is None or own.exists():
        return own
    elsewhere = place_weights(Path(config.foreign.weights_path), config)
    if not elsewhere.exists():
        raise InputError(
            f"{elsewhere}: no such file; the licence of these weights forbids copies, so an index "
            "refers to them: import them there again to encode images (questions about indexed "
            "tiles need none)"
        )
    return elsewhere


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
