"""The map: points and colours as bytes, and the tiles behind them only where asked."""

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import Response

from histo_index.serve.maps.colours import Colouring, colour, list_columns, usual_column
from histo_index.serve.maps.view import MOST_POINTS, MapBox, Maps, MapView
from histo_index.serve.rest.shapes import answer
from histo_index.serve.rest.tiles import tile_json
from histo_index.serve.safety.refusal import RefusalError, not_found
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.serve.state.state import State

# Short: it holds a thread that others need for searches.
WAIT_S: Final = 1.0
_BYTES: Final = "application/octet-stream"
_BINARY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}
}


def map_routes(state: State, maps: Maps) -> APIRouter:
    """Return the routes of the map."""
    routes = APIRouter(prefix="/v1/map", tags=["map"])

    @routes.get("")
    async def describe() -> Response:
        """Return what made the map, its bounds, and what tiles can be coloured by."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            return answer(map_json(snapshot, view), view.tag)

        return await state.ask(ask)

    @routes.get("/points", response_class=Response, responses=_BINARY)
    async def points() -> Response:
        """Return x and y of each tile: float32, little-endian, in an order that says nothing."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            return _bytes(view.points[:MOST_POINTS].astype("<f4").tobytes(), view)

        return await state.ask(ask)

    @routes.get("/colours", response_class=Response, responses=_BINARY)
    async def colours(column: Annotated[str, Query(max_length=500)] = "") -> Response:
        """Return a byte for each point: a category, a step of the scale, 254 other, 255 none."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            found = colour(snapshot, view, column or usual_column(snapshot))
            return _bytes(found.codes[:MOST_POINTS].tobytes(), view)

        return await state.ask(ask)

    @routes.get("/legend")
    async def legend(column: Annotated[str, Query(max_length=500)] = "") -> Response:
        """Return what the bytes of the colours mean."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            found = colour(snapshot, view, column or usual_column(snapshot))
            return answer(legend_json(found), view.tag)

        return await state.ask(ask)

    _add_tiles(routes, state, maps)
    return routes


def _add_tiles(routes: APIRouter, state: State, maps: Maps) -> None:
    @routes.get("/points/{number}")
    async def tile(
        number: Annotated[int, Path(ge=0, lt=2**31)],
        if_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Return the tile of a point, counted from 0; `If-Match` is the ETag of the points."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            if if_match is not None and if_match.strip('"') != view.tag:
                raise RefusalError(412, "the index or its map has changed; load the page again")
            if number >= len(view.rows):
                raise not_found()
            return answer(tile_json(snapshot, int(view.rows[number])), view.tag)

        return await state.ask(ask)

    @routes.get("/tiles")
    async def tiles(
        box: Annotated[str, Query(max_length=200)],
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """List tiles in a box, `left,bottom,right,top`; `tiles` counts all of them."""

        def ask(snapshot: Snapshot) -> Response:
            view = maps.get(snapshot, WAIT_S)
            inside = view.inside(MapBox.read(box))
            found = [tile_json(snapshot, int(row)) for row in view.rows[inside[:limit]]]
            return answer({"count": len(inside), "tiles": found}, view.tag)

        return await state.ask(ask)


def map_json(snapshot: Snapshot, view: MapView) -> dict[str, Any]:
    """Write what is known of a map."""
    facts, shown = view.facts, ("method", "perplexity", "steps", "seed", "laid_out", "created")
    return {
        **{name: plain(getattr(facts, name)) for name in shown},
        "tiles": len(view.rows),
        "points": min(len(view.rows), MOST_POINTS),
        "placed": view.placed,
        "bounds": asdict(view.bounds),
        "columns": [
            {"name": plain(name), "kind": kind} for name, kind in list_columns(snapshot).items()
        ],
    }


def legend_json(found: Colouring) -> dict[str, Any]:
    """Write what the colours mean."""
    return {
        "column": plain(found.column),
        "categories": [asdict(one) for one in found.categories],
        "low": found.low,
        "high": found.high,
        "other": found.other,
        "none": found.none,
    }


def _bytes(data: bytes, view: MapView) -> Response:
    return Response(data, media_type=_BYTES, headers={"ETag": f'"{view.tag}"'})
