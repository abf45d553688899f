"""Messages from the child that reads foreign files: a JSON header and bytes."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

_LENGTH: Final = struct.Struct(">I")
# No header of ours is longer, and no block of rows.
_MOST_HEADER: Final = 2**24
_MOST_BYTES: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A message.

    Attributes:
        kind: `begin` of a job, a `part` that a file has, a block of `rows`, an `error`, `end`.
        job: number of the job it is about.
        values: depends on the kind.
        table: Arrow IPC stream of what rows bring along; empty if nothing.
        embeddings: bytes of float16 [n, D].
    """

    kind: str
    job: int
    values: Mapping[str, Any] = field(default_factory=dict)
    table: bytes | memoryview = b""
    embeddings: bytes | memoryview = b""


def write_frame(file: IO[bytes], frame: Frame) -> None:
    """Write a message."""
    header = json.dumps(
        {
            "kind": frame.kind,
            "job": frame.job,
            "values": frame.values,
            "sizes": [len(frame.table), len(frame.embeddings)],
        }
    ).encode()
    file.write(_LENGTH.pack(len(header)) + header)
    file.write(frame.table)
    file.write(frame.embeddings)
    file.flush()


def read_frame(file: IO[bytes]) -> Frame | None:
    """Read a message; None where the stream ends, also in the middle of one.

    Raises:
        ValueError: what comes is no message.
    """
    length = _read(file, _LENGTH.size)
    if length is None:
        return None
    (size,) = _LENGTH.unpack(length)
    if size > _MOST_HEADER or (header := _read(file, size)) is None:
        return None
    found = json.loads(header)
    sizes = [int(n) for n in found["sizes"]]
    if not all(0 <= n <= _MOST_BYTES for n in sizes):
        raise ValueError("a block of no size")
    blocks = [_read(file, n) for n in sizes]
    if any(block is None for block in blocks):
        return None
    return Frame(
        kind=str(found["kind"]),
        job=int(found["job"]),
        values=found["values"],
        table=blocks[0] or b"",
        embeddings=blocks[1] or b"",
    )


def _read(file: IO[bytes], size: int) -> bytes | None:
    data = file.read(size)
    return data if len(data) == size else None
