"""The outermost layer: headers of every answer, errors that nobody expected, log and metrics."""

import logging
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from histo_index.serve.safety.refusal import respond, unexpected

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob:; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_access = logging.getLogger("histo_index.serve.access")
_log = logging.getLogger(__name__)


class Edge:
    """Wraps an application. What it logs has neither query strings nor names of tiles."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        """Wrap an application and count its requests in a registry."""
        self._app = app
        labels = ("method", "route")
        self._requests = Counter(
            "histo_index_requests", "Requests.", (*labels, "status"), registry=registry
        )
        self._seconds = Histogram(
            "histo_index_request_seconds", "Seconds to answer.", labels, registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; no other kind of connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started, status = time.perf_counter(), 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, send_safely)
        # Whatever it is, the client gets one line, and the log gets everything.
        except Exception:
            _log.exception("unexpected error at %s", _route(scope))
            if not status:
                await respond(scope, unexpected())(scope, receive, send_safely)
        finally:
            self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], _route(scope)
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        _access.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)


def _route(scope: Scope) -> str:
    """Return the pattern of the path, because the path itself is whatever a client sent."""
    return str(getattr(scope.get("route"), "path", "unknown"))
