"""The page of the map. What is selected is in its address, so that going back works."""

from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from histo_index.serve.answers.asked import one_text
from histo_index.serve.answers.marking import labels_of
from histo_index.serve.maps.areas import list_areas
from histo_index.serve.maps.colours import colour, list_columns, usual_column
from histo_index.serve.maps.view import MapBox, Maps, MapView
from histo_index.serve.pages.write import write_page
from histo_index.serve.rest.map import WAIT_S
from histo_index.serve.rest.tiles import tile_json
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State

# As many as can be labelled at once.
_SHOWN: Final = 500


def map_pages(state: State, maps: Maps) -> APIRouter:
    """Return the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/map")
    async def show(request: Request) -> Response:
        """Show the map, a table of its areas, and the tiles of a box; it asks again if it waits."""

        def ask(snapshot: Snapshot) -> Response:
            try:
                view = maps.get(snapshot, WAIT_S)
            except RefusalError as refusal:
                if refusal.status_code not in (404, 503):
                    raise
                values: dict[str, Any] = {"view": None, "is_waiting": refusal.status_code == 503}
            else:
                values = _fill(request, snapshot, view)
            return write_page("map.html", request, state, snapshot, **values)

        return await state.ask(ask)

    return routes


def _fill(request: Request, snapshot: Snapshot, view: MapView) -> dict[str, Any]:
    column = one_text(request.query_params, "column") or usual_column(snapshot)
    given = one_text(request.query_params, "box")
    box = MapBox.read(given) if given else None
    colouring = colour(snapshot, view, column)
    inside = view.inside(box) if box else ()
    tiles = [tile_json(snapshot, int(row)) for row in view.rows[list(inside[:_SHOWN])]]
    return {
        "view": view,
        "column": column,
        "columns": list(list_columns(snapshot)),
        "colouring": colouring,
        "box": box,
        "selected": len(inside),
        "chosen": tiles,
        "marked": labels_of(snapshot, [tile["id"] for tile in tiles]),
        "areas": [
            (area, urlencode({"column": column, "box": area.box.text}))
            for area in list_areas(view, box or view.bounds, colouring)
        ],
    }
