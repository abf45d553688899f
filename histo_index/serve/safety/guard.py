"""Who may ask: known hosts only, and only with the token or a session that it opened.

A browser sends cookies to every port of a host, so another user's page on this machine counts as
the same site. Reading therefore also needs that the browser names the request as one of our own
pages, and writing an Origin with our port and a token that only our pages hold.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from histo_index.serve.config import ServeConfig
from histo_index.serve.safety.refusal import RefusalError, respond
from histo_index.serve.safety.sessions import Sessions
from histo_index.serve.safety.token import derive, is_equal

WRITE_HEADER: Final = "x-histo-index-write"
WRITE_FIELD: Final = "write_token"
# Answered without a token; they say nothing about the index.
_OPEN: Final = ("/healthz", "/readyz")
_SAFE: Final = ("GET", "HEAD")
# Forms that work without JavaScript cannot send a header: they send WRITE_FIELD instead. They ask
# about images and change nothing.
_FORMS: Final = ("/search", "/pair", "/slide")
_UNKNOWN: Final = (
    "no session here, or it has ended: open the address that `histo-index serve` printed; "
    "programs send `Authorization: Bearer TOKEN`"
)


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who asks.

    Attributes:
        write_token: what a page of a browser's session must send; None of other clients.
    """

    write_token: str | None = None


class Guard:
    """Lets requests through that may be answered."""

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        """Guard an application."""
        self._app = app
        self._config = config
        self._sessions = Sessions(derive(config.token, "writes"))
        # Cookies ignore ports: two servers on one host must not overwrite each other's.
        port = config.origin.rpartition(":")[2]
        self._cookie = f"histo-index-{port if port.isdigit() else 'default'}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            found = self._admit(scope, Headers(scope=scope))
        except RefusalError as refusal:
            found = respond(scope, refusal)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope.setdefault("state", {})["visitor"] = found
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> Visitor | Response:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._config.hosts:
            raise RefusalError(421, "this server does not answer for the host that was named")
        path = scope["path"].removeprefix(self._config.root_path)
        if path in _OPEN:
            return Visitor()
        if given := headers.get("authorization"):
            scheme, _, token = given.partition(" ")
            if scheme.lower() != "bearer" or not is_equal(token.strip(), self._config.token):
                raise _unknown()
            return Visitor()
        if entered := self._enter(scope, path):
            return entered
        session = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        if not self._sessions.is_open(session):
            raise _unknown()
        write_token = self._sessions.write_token(session)
        self._require_own_page(scope["method"], path, headers, write_token)
        return Visitor(write_token=write_token)

    def _enter(self, scope: Scope, path: str) -> Response | None:
        """Exchange the token of an address for a session; None if the address has none."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == "token"]
        if not tokens:
            return None
        if scope["method"] != "GET" or not is_equal(tokens[0], self._config.token):
            raise _unknown()
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: two would name another host.
        where = f"{self._config.root_path}/{path.lstrip('/')}"
        answer = RedirectResponse(where + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(
            self._cookie, self._sessions.open(), httponly=True, samesite="strict",
            secure=self._config.is_secure, path=self._config.root_path or "/",
        )  # fmt: skip
        return answer

    def _require_own_page(self, method: str, path: str, headers: Headers, write_token: str) -> None:
        """Refuse what a page of another origin makes a browser send with our cookie."""
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        if method in _SAFE:
            is_visit = mode == "navigate" and headers.get("sec-fetch-dest") == "document"
            if site not in (None, "same-origin", "none") and not is_visit:
                raise _foreign()
            return
        scheme = self._config.origin.partition("://")[0]
        origin, own = headers.get("origin"), f"{scheme}://{headers['host'].lower()}"
        is_form = path in _FORMS
        # With `Referrer-Policy: no-referrer` browsers send `null` for a form of our own page.
        origins = (own, "null") if is_form and mode == "navigate" else (own,)
        if site != "same-origin" or origin not in origins:
            raise _foreign()
        if not is_form and not is_equal(headers.get(WRITE_HEADER, ""), write_token):
            raise _foreign()


def require_form_token(visitor: Visitor, given: object) -> None:
    """Refuse a form that none of our pages held; clients without a cookie need no token.

    Raises:
        RefusalError: the token is not that of the session.
    """
    if visitor.write_token is not None and not is_equal(str(given or ""), visitor.write_token):
        raise _foreign()


def _unknown() -> RefusalError:
    return RefusalError(401, _UNKNOWN, headers={"WWW-Authenticate": "Bearer"})


def _foreign() -> RefusalError:
    return RefusalError(403, "refused: the request does not come from a page of this server")
