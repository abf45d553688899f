"""Answers that are refusals: problem+json, or a page for people. No path of the machine leaks."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi.responses import HTMLResponse, JSONResponse, Response
from markupsafe import escape
from starlette.exceptions import HTTPException
from starlette.types import Scope

from histo_index.errors import (
    HistoIndexError,
    ImageError,
    IndexFormatError,
    InputError,
    LockedError,
    MismatchError,
    PartialAnswerError,
)
from histo_index.wording import printable

NOT_FOUND: Final = "there is no such tile or page"
_STATUS: Final[dict[type[HistoIndexError], int]] = {
    ImageError: 422,
    InputError: 422,
    IndexFormatError: 503,
    MismatchError: 503,
    PartialAnswerError: 503,
    LockedError: 409,
}
# What pages are headed by instead of the phrases of HTTP.
_HEADINGS: Final = {
    400: "This cannot be answered",
    401: "No access",
    403: "Not allowed",
    409: "In use",
    410: "No longer here",
    413: "Too much data",
    421: "Another address",
    422: "This cannot be answered",
    503: "Not now",
}
# Folders of an absolute path, POSIX or Windows; what follows them stays.
_FOLDERS: Final = re.compile(r"(?<![\w.…])(?:/(?:[^\s/:;,'\"]+/)+|[A-Za-z]:\\(?:[^\s\\:;,]+\\)*)")


class RefusalError(HTTPException):
    """A request that is not answered: status, one line, and further headers."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Set the message for the client."""
        super().__init__(status, detail, dict(headers or {}))


def not_found() -> RefusalError:
    """Return the one refusal for everything that is not there."""
    return RefusalError(404, NOT_FOUND)


def unexpected() -> RefusalError:
    """Return the refusal after an error that nobody expected."""
    return RefusalError(500, "the server made a mistake; its log says which")


def busy(seconds: int) -> RefusalError:
    """Return the refusal of a request that would wait too long."""
    detail = f"the server is busy; try again in {seconds} s"
    return RefusalError(503, detail, headers={"Retry-After": str(seconds)})


def refusal_of(error: HistoIndexError, folders: Sequence[Path]) -> RefusalError:
    """Turn an error of the package into a refusal.

    Args:
        error: whose message may hold paths.
        folders: whose names may stay, but not where they are.
    """
    status = next((_STATUS[kind] for kind in type(error).mro() if kind in _STATUS), 500)
    headers = {"Retry-After": "30"} if status == 503 else {}
    return RefusalError(status, without_paths(str(error), folders), headers=headers)


def refusal_of_system(error: OSError, index: Path) -> RefusalError:
    """Turn an error of the operating system, such as a full disk, into a refusal.

    Args:
        error: may name a file.
        index: the folder whose files may be named.
    """
    path = Path(str(error.filename or index))
    name = f"{index.name}/{path.name}" if path.parent == index else index.name
    detail = f"{printable(name)}: {error.strerror or type(error).__name__}"
    return RefusalError(503, detail, headers={"Retry-After": "30"})


def without_paths(text: str, folders: Sequence[Path] = ()) -> str:
    """Remove the folders of absolute paths from a message, and make it one line.

    Args:
        text: a message.
        folders: that may hold spaces or colons, so that no pattern finds their ends.
    """
    for folder in folders:
        for path in sorted({str(folder), str(folder.absolute()), str(folder.resolve())})[::-1]:
            if Path(path).is_absolute():
                text = text.replace(path, folder.name or "index")
    return printable(" ".join(_FOLDERS.sub("…/", text).split()))


def respond(scope: Scope, refusal: HTTPException) -> Response:
    """Write a refusal: a page for browsers, problem+json for everybody else."""
    headers, status = dict(refusal.headers or {}), refusal.status_code
    title = HTTPStatus(status).phrase
    accepted = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    is_api = scope["path"].removeprefix(scope.get("root_path", "")).startswith("/v1/")
    if "text/html" in accepted and not is_api:
        heading = _HEADINGS.get(status, title)
        return HTMLResponse(_page(heading, refusal.detail, scope), status, headers)
    problem = {
        "type": "about:blank", "title": title, "status": status, "detail": refusal.detail,
    }  # fmt: skip
    return JSONResponse(problem, status, headers, media_type="application/problem+json")


def _page(title: str, detail: str, scope: Scope) -> str:
    root = escape(scope.get("root_path", ""))
    # Whoever has no session gets no style either.
    has_session = "visitor" in scope.get("state", {})
    style = (
        f'<link rel="stylesheet" href="{root}/static/app.css">'
        f'<link rel="icon" href="{root}/static/icon.svg">'
    ) * has_session
    back = f'<p><a href="{root}/search">Go to the search</a></p>' if has_session else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{style}'
        f"<title>{escape(title)}</title></head><body><main><h1>{escape(title)}</h1>"
        f"<p>{escape(detail)}</p>{back}</main></body></html>"
    )
