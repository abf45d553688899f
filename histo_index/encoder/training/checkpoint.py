"""The state of a run on disk, so that it can go on as if nothing had happened."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from histo_index.encoder.unfinished import CHECKPOINT_NAME
from histo_index.errors import IndexFormatError


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


def remove_temporaries(folder: Path) -> None:
    """Delete checkpoints that were killed half-written."""
    for path in folder.glob(f".{CHECKPOINT_NAME}.*"):
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; no code in it is run.

    Raises:
        IndexFormatError: it is damaged.
    """
    path = folder / CHECKPOINT_NAME
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({type(error).__name__}); delete the folder and start again"
        ) from error
    assert isinstance(state, dict)
    return state
