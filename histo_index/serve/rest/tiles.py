"""Tiles: what is known of one, its picture, and lists of them."""

from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from histo_index.arrays import Int64
from histo_index.search.neighbours.conditions import fulfilling
from histo_index.serve.answers.asked import Asked
from histo_index.serve.rest.shapes import answer
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State
from histo_index.serve.state.uploads import PREFIX

# Few, so that pictures are made once for all pages.
SIDES: Final = (160, 320, 640)


def tile_routes(state: State) -> APIRouter:
    """Return the routes of tiles."""
    routes = APIRouter(prefix="/v1", tags=["tiles"])

    @routes.get("/tiles")
    async def list_tiles(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=500)] = 24,
        seed: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> Response:
        """List random tiles; `column`, `operator` and `value` filter them."""

        def choose(snapshot: Snapshot) -> Response:
            asked = Asked.read(request.query_params, snapshot.columns, state.config.limits)
            rows = sample_rows(snapshot, asked, limit, seed)
            return answer({"tiles": [tile_json(snapshot, row) for row in rows]}, snapshot.tag)

        return await state.ask(choose)

    @routes.get("/tiles/{tile_id}")
    async def read_tile(request: Request, tile_id: str) -> Response:
        """Return what is known of a tile."""

        def read(snapshot: Snapshot) -> Response:
            row = snapshot.row_of(tile_id)
            return unchanged(request, snapshot) or answer(tile_json(snapshot, row), snapshot.tag)

        return await state.ask(read)

    @routes.get("/tiles/{tile_id}/image")
    async def read_image(
        request: Request, tile_id: str, size: Annotated[int | None, Query()] = None
    ) -> Response:
        """Return the picture of a tile: a PNG, or a JPEG of at most `size` pixels a side."""
        if size not in (None, *SIDES):
            raise RefusalError(422, f"size: expected one of {', '.join(map(str, SIDES))}")
        if tile_id.startswith(PREFIX):
            return Response(state.uploads.get(tile_id).picture, media_type="image/jpeg")

        def show(snapshot: Snapshot) -> Response:
            row = snapshot.row_of(tile_id)
            if unchanged_answer := unchanged(request, snapshot):
                return unchanged_answer
            kind = "image/png" if size is None else "image/jpeg"
            headers = {"ETag": f'"{snapshot.tag}"'}
            return Response(snapshot.picture(row, size), media_type=kind, headers=headers)

        return await state.show(show)

    return routes


def tile_json(snapshot: Snapshot, row: int) -> dict[str, Any]:
    """Write what is known of a tile."""
    return {"id": snapshot.ids.id_of(row), "columns": snapshot.facts(row)}


def sample_rows(snapshot: Snapshot, asked: Asked, limit: int, seed: int) -> list[int]:
    """Draw random tiles that fulfil the conditions of a search."""
    rows: Int64 = snapshot.opened.live_rows()
    if asked.conditions:
        rows = rows[fulfilling(snapshot.opened.rows, asked.conditions)[rows]]
    drawn = np.random.default_rng(seed).choice(rows, min(limit, len(rows)), replace=False)
    return [int(row) for row in drawn]


def unchanged(request: Request, snapshot: Snapshot) -> Response | None:
    """Return 304 if the client has the answer of this state already."""
    tags = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    quoted = f'"{snapshot.tag}"'
    return Response(status_code=304, headers={"ETag": quoted}) if quoted in tags else None
