"""Bodies of requests: limited in bytes, in time, and in how many arrive at once."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError, busy, respond

# After such a refusal the rest of the body is not read.
_CLOSE: Final = {"Connection": "close"}
_RETRY_S: Final = 5


class Bodies:
    """Limits what clients send. Declared sizes are refused before a byte is read."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Limit the bodies that an application receives."""
        self._app = app
        self._limits = limits
        self._arriving = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_images = headers.get("content-type", "").lower().startswith("multipart/")
        most = self._limits.upload_bytes if has_images else self._limits.body_bytes
        if refusal := _refuse(headers, most):
            await respond(scope, refusal)(scope, receive, send)
            return
        body = _Body(receive, send, self._hold, most=most, seconds=self._limits.body_s)
        body.is_whole = "transfer-encoding" not in headers and headers.get("content-length") in (
            None, "0",
        )  # fmt: skip
        if has_images and self._arriving >= self._limits.receiving:
            refusal = await body.skip() or busy(_RETRY_S)
            await respond(scope, refusal)(scope, body.receive, body.send)
            return
        self._arriving += has_images
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            self._arriving -= has_images
            self._held -= body.held

    def _hold(self, count: int) -> None:
        if self._held + count > self._limits.held_bytes:
            raise busy(_RETRY_S)
        self._held += count


class _Body:
    """The body of one request, whose bytes and time are counted.

    Attributes:
        is_whole: whether all of it has arrived.
        held: bytes that the application received.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        hold: Callable[[int], None],
        *,
        most: int,
        seconds: float,
    ) -> None:
        self._receive = receive
        self._send = send
        self._hold = hold
        self._most = most
        self._seconds = seconds
        self._end = asyncio.get_running_loop().time() + seconds
        self._found = 0
        self.held = 0
        self.is_whole = False

    async def receive(self) -> Message:
        """Receive the next part, which the application may keep.

        Raises:
            RefusalError: it is too large or too slow, or too much is held already.
        """
        message = await self._read()
        count = len(message.get("body", b""))
        try:
            self._hold(count)
        except RefusalError:
            self.is_whole = False
            raise
        self.held += count
        return message

    async def _read(self) -> Message:
        if self.is_whole:  # what follows is the end of the connection, for which there is no hurry
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            detail = f"the body did not arrive within {self._seconds:g} s"
            raise RefusalError(408, detail) from None
        self._found += len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        if self._found > self._most:
            self.is_whole = False
            raise _too_large(self._most)
        return message

    async def skip(self) -> RefusalError | None:
        """Read the body and forget it: a client that is cut off does not read the answer.

        Returns:
            Why not all of it was read; None if it was.
        """
        try:
            while not self.is_whole:
                await self._read()
        except RefusalError as refusal:
            return refusal
        return None

    async def send(self, message: Message) -> None:
        """Send a part of the answer; a connection with a body that nobody reads is closed."""
        if message["type"] == "http.response.start" and not self.is_whole:
            MutableHeaders(scope=message)["connection"] = "close"
        await self._send(message)


def _refuse(headers: Headers, most: int) -> RefusalError | None:
    """Refuse a body by what is declared of it; None if it may arrive."""
    declared = headers.get("content-length", "0")
    if not declared.isdigit():
        return RefusalError(400, "the length of the body is no number", headers=_CLOSE)
    return _too_large(most) if int(declared) > most else None


def _too_large(most: int) -> RefusalError:
    return RefusalError(413, f"the body is larger than {most:,} bytes", headers=_CLOSE)
