"""What stands after Ctrl-C, and what the next run does."""

from collections.abc import Sequence
from typing import Final

_WHOLE_INDEX: Final = "the index changed completely or not at all; repeat the command"
_STANDING: Final = {
    "build": "the next build goes on from the last finished shard",
    "train": "the same command with --resume goes on from the last saved step, or starts",
    "calibrate": _WHOLE_INDEX,
    "compact": _WHOLE_INDEX,
    "reindex": _WHOLE_INDEX,
    "remove": _WHOLE_INDEX,
    "encoder": "the encoder folder may be incomplete; repeat the command with --overwrite",
    "demo": "the output folder is incomplete; delete it and repeat the command",
}
# Commands that only read an index write their output files whole or not at all.
_NOTHING_CHANGED: Final = "no index was changed, no output file is incomplete"


def describe_interruption(arguments: Sequence[str]) -> str:
    """Describe what an interrupted command leaves.

    Args:
        arguments: of the command line, the program's name left out.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    return f"interrupted; {_STANDING.get(command, _NOTHING_CHANGED)}"
