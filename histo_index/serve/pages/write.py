"""Fill the templates of the pages."""

from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from histo_index.report.html import environment
from histo_index.serve.safety.guard import Visitor
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State

_PACKAGE: Final = "histo_index.serve"
# What a page calls an operator of a condition.
OPERATOR_NAMES: Final = {
    "eq": "is",
    "ne": "is not",
    "contains": "contains",
    "lt": "<",
    "le": "≤",
    "gt": ">",
    "ge": "≥",
    "empty": "has no value",
    "filled": "has a value",
}


def write_page(
    template: str, request: Request, state: State, snapshot: Snapshot, **values: Any
) -> Response:
    """Fill a template with values and with what every page shows."""
    visitor: Visitor = request.state.visitor
    manifest = snapshot.opened.manifest
    shared = {
        "index_name": state.config.index.resolve().name,
        "tiles": manifest.tiles,
        "generation": manifest.generation,
        "write_token": visitor.write_token or "",
        "is_read_only": state.config.is_read_only,
        "is_calibrated": snapshot.index.threshold(is_decisive=False).is_calibrated,
        "shows_names": state.config.shows_names,
        "has_slides": bool(snapshot.slides),
        "upload_mb": state.config.limits.upload_bytes // 2**20,
        "images": state.config.limits.images,
    }
    return HTMLResponse(environment(_PACKAGE).get_template(template).render(**shared, **values))
