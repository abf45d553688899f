"""The token that every client must know, and what is derived from it."""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from histo_index.errors import InputError
from histo_index.wording import printable

_LEAST: Final = 24
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_token() -> str:
    """Draw a token of 256 bits."""
    return secrets.token_urlsafe(32)


def read_token(path: Path) -> str:
    """Read a token from a file that only its owner can read.

    Raises:
        InputError: it is missing, open to others, or holds no long word.
    """
    name = printable(path)
    try:
        # What is checked is what is read.
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(4096)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); pass a token file") from error
    if os.name == "posix" and (not stat.S_ISREG(mode) or mode & _OTHERS):
        raise InputError(
            f"{name}: mode {stat.S_IMODE(mode):04o}, so others can read the token; "
            "run `chmod 600` on it"
        )
    token = data.decode("ascii", "replace").strip()
    if len(token) < _LEAST or not all(33 <= ord(letter) <= 126 for letter in token):
        raise InputError(
            f"{name}: no token; expected one word of at least {_LEAST} printable ASCII characters"
        )
    return token


def derive(token: str, purpose: str) -> bytes:
    """Derive a key of 32 bytes; what is known of one purpose tells nothing about another."""
    return hmac.digest(token.encode(), f"histo-index {purpose}".encode(), "sha256")


def is_equal(given: str, expected: str) -> bool:
    """Compare secrets in a time that depends on neither."""
    digests = (
        hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, expected)
    )
    return hmac.compare_digest(*digests)
