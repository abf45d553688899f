"""Read a foreign checkpoint: a torchvision-style state dict of a ResNeXt."""

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from histo_index.encoder.folder import Weights
from histo_index.encoder.trunk import random_weights
from histo_index.errors import InputError, MismatchError

# Where training code keeps a state dict inside its checkpoint.
_CONTAINERS: Final = ("state_dict", "model_state_dict", "model")
# What BYOL and parallel wrappers put before the network's own names.
_PREFIXES: Final = ("module.", "online_encoder.net.", "net.", "backbone.", "encoder.")


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
    state = _state_dict(path)
    state = {_strip(name): value for name, value in state.items()}
    expected = random_weights(architecture, seed=0)
    _check(state, expected, path, architecture)
    weights = {name: state[name].float().cpu().numpy() for name in expected}
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise MismatchError(f"{path}: {broken[0]} holds values that are not finite")
    return weights


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; pass a checkpoint written by torch.save")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path}: not a checkpoint of plain tensors ({reason}); save its state_dict() alone"
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


def _only_online(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a whole BYOL learner keep the online network, not target, projector and predictor."""
    online = {name: value for name, value in tensors.items() if "online_encoder.net." in name}
    return online or tensors


def _strip(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name


def _check(
    state: dict[str, torch.Tensor], expected: Weights, path: Path, architecture: str
) -> None:
    known = {name for name in state if not name.startswith("fc.")}
    known = {name for name in known if not name.endswith("num_batches_tracked")}
    missing, unknown = sorted(expected.keys() - known), sorted(known - expected.keys())
    wrong = [
        f"{name} {list(state[name].shape)} for {list(expected[name].shape)}"
        for name in sorted(expected.keys() & known)
        if tuple(state[name].shape) != expected[name].shape
    ]
    if missing or unknown or wrong:
        raise MismatchError(
            f"{path} is not a {architecture}: {len(missing)} weights missing {missing[:1]}, "
            f"{len(unknown)} unknown {unknown[:1]}, {len(wrong)} of another shape {wrong[:1]}; "
            "pass the checkpoint's own --arch"
        )
