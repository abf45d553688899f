"""JSON documents that notice when they were damaged: `manifest.json` and the receipts.

A sealed document says what it is and in which version of the format, and ends with a checksum over
every byte before it. These three fields stay as they are in every later version, so that any
release can tell a damaged document from one that is too new.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import DamagedError, checksum

_END: Final = re.compile(rb',\n "checksum": "([0-9a-f]{32})"\n}\Z')


def read_if_there(path: Path, *, remedy: str = "check its permissions") -> bytes | None:
    """Read a file that an index may lack; None if it does.

    Raises:
        IndexFormatError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexFormatError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error


def seal(kind: str, body: Mapping[str, Any], *, version: int) -> bytes:
    """Write a document.

    Args:
        kind: the value of its field `format`.
        body: JSON values by name.
        version: the value of its field `format_version`.
    """
    # ASCII, because a folder's name need not be UTF-8.
    text = json.dumps({"format": kind, "format_version": version, **body}, indent=1)
    head = text.removesuffix("\n}").encode()
    return head + _end(head)


def unseal(path: Path, data: bytes, *, kind: str, newest: int, remedy: str) -> dict[str, Any]:
    """Read a document.

    Args:
        path: how messages call it.
        data: its bytes.
        kind: what it must be.
        newest: the highest version that can be read.
        remedy: what to do if it is damaged, for the end of the message.

    Returns:
        Its body.

    Raises:
        DamagedError: it is not as it was written, or no such document.
        IndexFormatError: it is of a newer version of the format.
    """
    head = data[: -len(_end(b""))]
    # Before parsing, so that the message has both checksums.
    if (end := _END.search(data)) and (found := checksum(head)) != end[1].decode():
        raise DamagedError(
            f"{path}: damaged: checksum {found}, expected {end[1].decode()}; {remedy}"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: damaged: {error}; {remedy}") from error
    if not isinstance(document, dict) or document.get("format") != kind:
        raise DamagedError(f"{path}: damaged: not a {kind} document; {remedy}")
    if data != head + _end(head):
        found, expected = checksum(head), document.get("checksum")
        raise DamagedError(f"{path}: damaged: checksum {found}, expected {expected}; {remedy}")
    version = document.pop("format_version")
    if version > newest:
        raise IndexFormatError(
            f"{path} has index format {version}, this release reads up to {newest}; "
            "upgrade histo-index"
        )
    del document["format"], document["checksum"]
    return document


def _end(head: bytes) -> bytes:
    """Format the last line of a document: the checksum of every byte before it."""
    return f',\n "checksum": "{checksum(head)}"\n}}'.encode()
