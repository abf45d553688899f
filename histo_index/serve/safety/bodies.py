"""Bodies of requests: limited in bytes, in time, and in how many arrive at once."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError, busy, respond

# After such a refusal the rest of the body is not read.
_CLOSE = {"Connection": "close"}


class Bodies:
    """Limits what clients send. Declared sizes are refused before a byte is read."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Limit the bodies that an application receives."""
        self._app = app
        self._limits = limits
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_images = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._limits.upload_bytes if has_images else self._limits.body_bytes
        refusal = self._refuse(headers, most, has_images=has_images)
        if refusal is not None:
            await respond(scope, refusal)(scope, receive, send)
            return
        self._arriving += has_images
        try:
            await self._app(scope, _limited(receive, most, self._limits.body_s), send)
        finally:
            self._arriving -= has_images

    def _refuse(self, headers: Headers, most: int, *, has_images: bool) -> RefusalError | None:
        declared = headers.get("content-length", "0")
        if not declared.isdigit():
            return RefusalError(400, "the length of the body is no number", headers=_CLOSE)
        if int(declared) > most:
            return _too_large(most)
        if has_images and self._arriving >= self._limits.receiving:
            refusal = busy(5)
            refusal.headers = {**(refusal.headers or {}), **_CLOSE}
            return refusal
        return None


def _limited(receive: Receive, most: int, seconds: float) -> Receive:
    """Count the bytes of a body and the time they take."""
    end, found = time.monotonic() + seconds, 0
    is_whole = False

    async def receive_limited() -> Message:
        nonlocal found, is_whole
        if is_whole:  # what follows is the end of the connection, for which there is no hurry
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(end - time.monotonic(), 0.001))
        except TimeoutError:
            detail = f"the body did not arrive within {seconds:g} s"
            raise RefusalError(408, detail, headers=_CLOSE) from None
        found += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if found > most:
            raise _too_large(most)
        return message

    return receive_limited


def _too_large(most: int) -> RefusalError:
    return RefusalError(413, f"the body is larger than {most:,} bytes", headers=_CLOSE)
