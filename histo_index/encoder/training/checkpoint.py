"""The state of a run on disk, so that it can go on as if nothing had happened."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from histo_index.errors import IndexFormatError

CHECKPOINT_NAME: Final = "checkpoint.pt"


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a run's state; killed meanwhile, the one before stands.

    Raises:
        OSError: the disk is full or not writable.
    """
    temporary = folder / f".{CHECKPOINT_NAME}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / CHECKPOINT_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; no code in it is run.

    Raises:
        IndexFormatError: there is none, or it is damaged.
    """
    path = folder / CHECKPOINT_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise IndexFormatError(
            f"{path}: no such file, so there is nothing to resume; leave --resume out"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({type(error).__name__}); delete it and start the run anew"
        ) from error
    assert isinstance(state, dict)
    return state
