"""Read the tensors of a foreign file: safetensors, or a checkpoint of torch."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from histo_index.encoder.importing.checkpoint import as_arrays, load_tensors, require_finite
from histo_index.encoder.weights_file import Weights
from histo_index.errors import InputError
from histo_index.wording import printable


def read_tensors(path: Path) -> Weights:
    """Read every tensor of a `.safetensors`, `.bin` or `.pth` file; no code in it is run.

    Returns:
        Name to float32 array, as the file names them.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors.
        MismatchError: a value is not finite.
    """
    name = printable(path)
    tensors = _read_safe(path, name) if path.suffix == ".safetensors" else load_tensors(path, name)
    arrays = as_arrays(tensors, name)
    require_finite(arrays, name, remedy="pass an undamaged file")
    return arrays


def _read_safe(path: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_safetensors(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{name}: no safetensors file ({error}); download it again") from error
    return tensors
