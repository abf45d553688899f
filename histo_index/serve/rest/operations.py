"""For whoever runs the server: is it alive, can it answer, what has it done."""

from functools import partial

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State


def operation_routes(state: State, registry: CollectorRegistry) -> APIRouter:
    """Return the routes of operations."""
    routes = APIRouter(tags=["operations"])
    tiles = Gauge("histo_index_tiles", "Tiles of the index.", registry=registry)
    generation = Gauge("histo_index_generation", "Generation of the index.", registry=registry)
    inside = Gauge("histo_index_lane_requests", "Requests in a lane.", ("lane",), registry=registry)
    for name, lane in state.lanes.items():
        inside.labels(name).set_function(partial(getattr, lane, "inside"))

    @routes.get("/healthz")
    async def healthz() -> Response:
        """Answer that the server is alive; needs no token."""
        return JSONResponse({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Answer whether the index can be used; needs no token, and says nothing else."""

        def ask(snapshot: Snapshot) -> Response:
            return JSONResponse({"status": "ok"})

        return await state.ask(ask)

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Count requests and seconds for Prometheus."""

        def ask(snapshot: Snapshot) -> Response:
            tiles.set(snapshot.opened.manifest.tiles)
            generation.set(snapshot.opened.manifest.generation)
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

        return await state.ask(ask)

    return routes
