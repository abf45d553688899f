"""Read a foreign checkpoint: a torchvision-style state dict of a ResNeXt.

For untrusted files use `child.read_in_child`.
"""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from histo_index.encoder.config import MEAN
from histo_index.encoder.folder import used_weights
from histo_index.encoder.runtime.untrained import compare_shapes, weight_shapes
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError, MismatchError
from histo_index.wording import counted, printable

# What torch.load raises on damaged and foreign files.
_LOAD_FAULTS: Final = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError,
    TypeError, AttributeError, AssertionError, OverflowError, MemoryError, struct.error,
    zipfile.BadZipFile,
)  # fmt: skip
# Where training code keeps a state dict inside its checkpoint.
_CONTAINERS: Final = ("state_dict", "model_state_dict", "model")
# Prefixes that BYOL, Lightning and parallel wrappers add to the names of the network.
_PREFIXES: Final = ("module.", "learner.", "online_encoder.net.", "net.", "backbone.", "encoder.")


def read_checkpoint(path: Path, architecture: str, *, pooling: str = MEAN) -> Weights:
    """Read the weights of the trunk from a `.pth` file; no code in it is run.

    Args:
        path: a file written by `torch.save`.
        architecture: of the weights.
        pooling: of the new encoder; see `EncoderConfig`.

    Returns:
        Parameter name to float32 array, of the stages that are pooled and those before.

    Raises:
        InputError: the file is missing, not a checkpoint, or holds more than tensors.
        MismatchError: the weights do not fit the architecture, or are not finite.
    """
    name = printable(path)
    state = _stripped(load_tensors(path, name), name)
    state = used_weights(state, pooling)
    expected = used_weights(weight_shapes(architecture), pooling)
    differences = compare_shapes(state, expected)
    if differences:
        raise MismatchError(
            f"{name} is not a {architecture}: {_brief(differences)}; "
            "pass the checkpoint's own --arch"
        )
    weights = as_arrays({key: state[key] for key in expected}, name)
    require_finite(weights, name, remedy="training diverged, pass an earlier checkpoint")
    return weights


def require_finite(weights: Weights, name: str, *, remedy: str) -> None:
    """Refuse weights with a value that is not finite.

    Raises:
        MismatchError: a value is not finite.
    """
    broken = [key for key, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise MismatchError(
            f"{name}: {counted(len(broken), 'weight')} with values that are not finite, "
            f"{printable(broken[0])} first; {remedy}"
        )


def load_tensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Load the tensors of a `.pth` file.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{name}: no such file; pass a checkpoint written by torch.save")
    try:
        _require_undamaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles that it then refuses
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _LOAD_FAULTS as error:
        raise InputError(
            f"{name}: not a checkpoint of plain tensors ({_reason(error)}); "
            "save its state_dict() alone"
        ) from error
    for key in _CONTAINERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    tensors = {
        key: value
        for key, value in (loaded.items() if isinstance(loaded, dict) else ())
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputError(f"{name}: holds no state dict; save its state_dict() alone")
    return _only_online(tensors)


def _require_undamaged(path: Path) -> None:
    """Check the checksums that `torch.save` writes and `torch.load` ignores."""
    if not zipfile.is_zipfile(path):
        return  # the old format has none
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"damaged: {_brief(damaged)} in it has another checksum")


def as_arrays(tensors: dict[str, torch.Tensor], name: str) -> Weights:
    """Convert tensors of any kind and storage to float32 arrays."""
    arrays: Weights = {}
    for key, tensor in tensors.items():
        try:
            if tensor.is_complex() or tensor.is_meta:
                raise TypeError(f"it is {'complex' if tensor.is_complex() else 'without values'}")
            arrays[key] = tensor.detach().to_dense().float().numpy()
        except _LOAD_FAULTS as error:
            raise InputError(
                f"{name}: {key} is no tensor of plain numbers ({_reason(error)}); "
                "save the state_dict() of the network itself"
            ) from error
    return arrays


def _brief(text: str) -> str:
    # A file may contain names of any length, with any characters.
    return printable(text)[:500]


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "it asks for more memory than a file of its size can need"
    # The message of torch starts with advice to load the file unsafely, and ends with a link.
    said = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n\n")[-2:][0]
    reason = " ".join(said.split()).split(". ")[0][:160]
    # The message of a KeyError is its key; a number does not help.
    is_number = reason.strip("-'\"").isdigit()
    return type(error).__name__ if is_number or not reason else reason


def _only_online(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the online network of a BYOL learner, without target, projector and predictor."""
    online = {name: value for name, value in tensors.items() if "online_encoder.net." in name}
    return online or tensors


def _stripped(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Return the weights by torchvision name, without classifier and batch counts."""
    state: dict[str, torch.Tensor] = {}
    for long_key, value in tensors.items():
        key = _strip(long_key)
        if key in state:
            raise MismatchError(
                f"{name} holds {_brief(key)} twice; save the state_dict() of one network"
            )
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked"):
            state[key] = value
    return state


def _strip(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name
