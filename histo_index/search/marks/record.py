"""The records of marks, and their form as lines of JSON.

A tile is named by the SHA-256 of its content, so that marks outlive renamed files and rebuilds.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

SAME: Final = "same"
DIFFERENT: Final = "different"
SKIPPED: Final = "skipped"
ANSWERS: Final = (SAME, DIFFERENT, SKIPPED)
RANDOM: Final = "random"
NEAR: Final = "near"
REPEAT: Final = "repeat"
# One more with every change of what is written; see docs/format.md.
_VERSION: Final = 1
_DIGITS: Final = 16


@dataclass(frozen=True, kw_only=True)
class PairMark:
    """What somebody says about a pair.

    Attributes:
        a: SHA-256 of one tile.
        b: of the other.
        answer: one of ANSWERS.
        drawn: how the pair was proposed: `random`, `near` the threshold, or as a `repeat` of what
            another user answered.
        selection: how likely it was proposed, relative to a random pair across groups that was not
            marked yet; of a repeat, that of the answer that is repeated.
        user: who; None if nobody said.
        time: when, UTC, ISO 8601.
    """

    a: str
    b: str
    answer: str
    drawn: str
    selection: float
    user: str | None
    time: str


@dataclass(frozen=True, kw_only=True)
class TileMark:
    """What somebody calls a tile.

    Attributes:
        tile: its SHA-256.
        label: its class; None takes a label back.
        user: who; None if nobody said.
        time: when, UTC, ISO 8601.
    """

    tile: str
    label: str | None
    user: str | None
    time: str


@dataclass(frozen=True, kw_only=True)
class Undo:
    """Takes an earlier mark back.

    Attributes:
        line: the line of that mark, from 1.
        user: who.
        time: when.
    """

    line: int
    user: str | None
    time: str


Mark = PairMark | TileMark | Undo
_KINDS: Final[dict[str, type[Any]]] = {"pair": PairMark, "label": TileMark, "undo": Undo}


def tiles_of(mark: Mark) -> tuple[str, ...]:
    """Return the SHA-256 of the tiles that a mark is about."""
    if isinstance(mark, PairMark):
        return mark.a, mark.b
    return (mark.tile,) if isinstance(mark, TileMark) else ()


def to_line(mark: Mark) -> bytes:
    """Write a mark as one line of JSON with a checksum."""
    kind = next(name for name, made in _KINDS.items() if isinstance(mark, made))
    body = {"version": _VERSION, "kind": kind, **asdict(mark)}
    return json.dumps({**body, "checksum": _checksum(body)}).encode() + b"\n"


def from_line(line: bytes) -> Mark | None:
    """Read a mark; None if the line is damaged or of a newer version."""
    try:
        body = json.loads(line)
        checksum = body.pop("checksum")
        is_whole = checksum == _checksum(body) and body.pop("version") == _VERSION
        return _KINDS[body.pop("kind")](**body) if is_whole else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checksum(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
