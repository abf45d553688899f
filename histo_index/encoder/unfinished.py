"""Recognise the folder of a training run that was not finished."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

# A run deletes it when it is done.
CHECKPOINT_NAME: Final = "checkpoint.pt"
REMEDY: Final = "the same `histo-index train` command with --resume finishes it"


def describe_unfinished(folder: Path, training: Mapping[str, Any]) -> str | None:
    """Describe how far the training run of an encoder folder is.

    Args:
        folder: the encoder folder.
        training: the model card in its config.

    Returns:
        One line if the run was not finished, else None.
    """
    done, planned = training.get("epochs"), training.get("recipe", {}).get("epochs")
    if done is None or planned is None or done >= planned:
        return None
    if not (folder / CHECKPOINT_NAME).is_file():
        return None
    return f"{folder}: epoch {done} of {planned}; the training was not finished; {REMEDY}"
