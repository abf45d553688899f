"""Recognise the folder of an unfinished training run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

# Deleted at the end of a run.
CHECKPOINT_NAME: Final = "checkpoint.pt"
REMEDY: Final = "the same `histo-index train` command with --resume finishes it"


def describe_unfinished(folder: Path, training: Mapping[str, Any]) -> str | None:
    """Describe the progress of an unfinished training run.

    Args:
        folder: the encoder folder.
        training: the model card in its config.

    Returns:
        One line, or None if the run is finished.
    """
    done, planned = training.get("epochs"), training.get("recipe", {}).get("epochs")
    if done is None or planned is None or done >= planned:
        return None
    if not (folder / CHECKPOINT_NAME).is_file():
        return None
    return f"{folder}: epoch {done} of {planned}; the training was not finished; {REMEDY}"
