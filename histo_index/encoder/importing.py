"""Read a foreign checkpoint: a torchvision-style state dict of a ResNeXt."""

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from histo_index.encoder.folder import Weights
from histo_index.encoder.trunk import compare_shapes, random_weights
from histo_index.errors import InputError, MismatchError

# What torch.load was seen to raise on damaged and foreign files.
_LOAD_FAULTS: Final = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, IndexError,
    TypeError, AttributeError, AssertionError, OverflowError, MemoryError, struct.error,
)  # fmt: skip
# Where training code keeps a state dict inside its checkpoint.
_CONTAINERS: Final = ("state_dict", "model_state_dict", "model")
# What BYOL, Lightning and parallel wrappers put before the network's own names.
_PREFIXES: Final = ("module.", "learner.", "online_encoder.net.", "net.", "backbone.", "encoder.")


def read_checkpoint(path: Path, architecture: str) -> Weights:
    """Read the trunk's weights out of a `.pth` file, running none of its code.

    Args:
        path: a file written by `torch.save`.
        architecture: which network the weights belong to.

    Returns:
        Parameter name to float32 array, without the classifier.

    Raises:
        InputError: the file is missing, not a checkpoint, or holds more than tensors.
        MismatchError: the weights are not of this architecture, or not finite.
    """
    state = _stripped(_state_dict(path), path)
    expected = random_weights(architecture, seed=0)
    differences = compare_shapes(state, expected)
    if differences:
        raise MismatchError(
            f"{path} is not a {architecture}: {differences}; pass the checkpoint's own --arch"
        )
    weights = {name: state[name].detach().to_dense().float().numpy() for name in expected}
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise MismatchError(
            f"{path}: {len(broken)} weights hold values that are not finite, {broken[0]} first; "
            "training diverged, pass an earlier checkpoint"
        )
    return weights


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; pass a checkpoint written by torch.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles it does not like, which it then refuses
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _LOAD_FAULTS as error:
        raise InputError(
            f"{path}: not a checkpoint of plain tensors ({_reason(error)}); "
            "save its state_dict() alone"
        ) from error
    for key in _CONTAINERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    tensors = {
        name: value
        for name, value in (loaded.items() if isinstance(loaded, dict) else ())
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputError(f"{path}: holds no state dict; save its state_dict() alone")
    return _only_online(tensors)


def _reason(error: Exception) -> str:
    # Torch tells first how to load the file unsafely, and last where to read about it.
    said = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n\n")[-2:][0]
    reason = " ".join(said.split()).split(". ")[0][:160]
    # A KeyError says no more than its key: a number tells nothing.
    is_number = reason.strip("-'\"").isdigit()
    return type(error).__name__ if is_number or not reason else reason


def _only_online(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a whole BYOL learner keep the online network, not target, projector and predictor."""
    online = {name: value for name, value in tensors.items() if "online_encoder.net." in name}
    return online or tensors


def _stripped(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Name the trunk's weights as torchvision does; classifier and batch counts are left out."""
    state: dict[str, torch.Tensor] = {}
    for long_name, value in tensors.items():
        name = _strip(long_name)
        if name in state:
            raise MismatchError(f"{path} holds {name} twice; save the state_dict() of one network")
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            state[name] = value
    return state


def _strip(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name
