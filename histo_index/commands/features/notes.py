"""What answers say of an encoder that was declared and not verified."""

from collections.abc import Mapping, Sequence
from typing import Any

from histo_index.wording import printable


def note_lines(note: str | None) -> list[str]:
    """Format a note about the encoder as lines of an answer; none without one."""
    return [] if note is None else [f"  encoder    {printable(note)}"]


def add_note(rows: Sequence[Mapping[str, Any]], note: str | None) -> list[dict[str, Any]]:
    """Add a note about the encoder to each row of an answer; nothing without one."""
    return [{**row} if note is None else {**row, "encoder_note": printable(note)} for row in rows]
