"""Sessions of browsers: a cookie for reading, and a token that the page holds for writing."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_IDLE_S: Final = 12 * 3600.0
_MOST: Final = 1_000


class Sessions:
    """The sessions that were opened with the token. They end with the server."""

    def __init__(self, key: bytes, *, now: Callable[[], float] = time.monotonic) -> None:
        """Start without sessions.

        Args:
            key: of write tokens.
            now: a clock in seconds.
        """
        self._key = key
        self._now = now
        # Hashed, so that no session can be read from memory that leaks; to the last use.
        self._used: OrderedDict[bytes, float] = OrderedDict()

    def open(self) -> str:
        """Open a session and return what its cookie holds; the oldest one may end for it."""
        session = secrets.token_urlsafe(32)
        self._used[_digest(session)] = self._now()
        while len(self._used) > _MOST:
            self._used.popitem(last=False)
        return session

    def is_open(self, session: str) -> bool:
        """Return whether a cookie is that of a session, and keep the session alive."""
        digest = _digest(session)
        used = self._used.get(digest)
        if used is None:
            return False
        if self._now() - used > _IDLE_S:
            del self._used[digest]
            return False
        self._used[digest] = self._now()
        self._used.move_to_end(digest)
        return True

    def write_token(self, session: str) -> str:
        """Return what a page of this session must send with every write."""
        return hmac.new(self._key, session.encode(), "sha256").hexdigest()


def _digest(session: str) -> bytes:
    return hashlib.sha256(session.encode("utf-8", "replace")).digest()
