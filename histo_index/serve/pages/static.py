"""Style and scripts of the pages: a fixed list, read once."""

from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from histo_index.report.html import environment
from histo_index.serve.safety.refusal import not_found

_SCRIPTS: Final = (
    "ask.js", "label.js", "map.js", "mark.js", "plot.js", "slide.js", "slide_view.js", "upload.js",
    "wait.js",
)  # fmt: skip
_JAVASCRIPT: Final = "text/javascript; charset=utf-8"


def static_routes() -> APIRouter:
    """Return the route of style and scripts."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/static/{name}")
    async def read(name: str) -> Response:
        found = _files().get(name)
        if found is None:
            raise not_found()
        data, kind = found
        return Response(data, media_type=kind)

    return routes


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Read all files, so that a name of a request is never one of a file."""
    style = environment("histo_index.serve").get_template("app.css").render()
    scripts = files("histo_index.serve") / "static"
    return {
        "app.css": (style.encode(), "text/css; charset=utf-8"),
        "icon.svg": ((scripts / "icon.svg").read_bytes(), "image/svg+xml"),
        **{name: ((scripts / name).read_bytes(), _JAVASCRIPT) for name in _SCRIPTS},
    }
