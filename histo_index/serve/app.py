"""The application: routes, errors, and the layers that keep it safe."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from histo_index.serve.answers.marking import Marking
from histo_index.serve.answers.survey import Surveys
from histo_index.serve.maps.view import Maps
from histo_index.serve.pages.map import map_pages
from histo_index.serve.pages.mark import mark_pages
from histo_index.serve.pages.pair import pair_pages
from histo_index.serve.pages.quality import quality_pages
from histo_index.serve.pages.search import search_pages
from histo_index.serve.pages.slides import slide_pages
from histo_index.serve.pages.static import static_routes
from histo_index.serve.rest.map import map_routes
from histo_index.serve.rest.marks import label_routes, mark_routes
from histo_index.serve.rest.operations import operation_routes
from histo_index.serve.rest.questions import class_routes, pair_routes, search_routes
from histo_index.serve.rest.slides import region_routes, slide_routes
from histo_index.serve.rest.tiles import tile_routes
from histo_index.serve.safety.bodies import Bodies
from histo_index.serve.safety.edge import Edge
from histo_index.serve.safety.guard import Guard
from histo_index.serve.safety.refusal import NOT_FOUND, RefusalError, respond, unexpected
from histo_index.serve.slides.heat import Heats
from histo_index.serve.slides.viewer import Viewer
from histo_index.serve.state.state import State

# Else FastAPI sends what it measures to whatever address the environment names.
_SILENT: Final[TelemetryConfig] = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip


def create_app(state: State) -> ASGIApp:
    """Build the application over an open index. It closes the state when it ends."""
    registry = CollectorRegistry()
    config = state.config
    surveys, maps = Surveys(), Maps()
    viewer, heats = Viewer(config.limits), Heats(state.uploads)
    state.close_too(viewer.close)
    state.close_too(maps.close)
    marking = Marking(user=config.user, is_read_only=config.is_read_only)
    api = FastAPI(
        title="histo-index", docs_url=None, redoc_url=None, lifespan=_closing(state, surveys),
        telemetry=_SILENT, redirect_slashes=False,
    )  # fmt: skip
    api.add_exception_handler(HTTPException, _refuse)
    api.add_exception_handler(RequestValidationError, _refuse_fields)
    # `Edge` logs it: the error goes on after this answer.
    api.add_exception_handler(Exception, _refuse_rest)
    routers = [
        operation_routes(state, registry), tile_routes(state), search_routes(state),
        pair_routes(state), class_routes(state), search_pages(state), pair_pages(state),
        mark_routes(state, marking), label_routes(state, marking), mark_pages(state, marking),
        quality_pages(state, surveys), map_routes(state, maps), map_pages(state, maps),
        slide_routes(state, viewer, heats), region_routes(state, viewer, heats),
        slide_pages(state, viewer, heats), static_routes(),
    ]  # fmt: skip
    for router in routers:
        api.include_router(router)
    # Bodies are limited before the token is checked, so that nobody can send without end.
    return Edge(Bodies(Guard(api, config), config.limits), registry)


def _closing(state: State, surveys: Surveys):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if state.config.warms_up:
            state.warm_up()
        yield
        surveys.close()
        state.close()

    return lifespan


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and not isinstance(error, RefusalError):
        # The same words for a path without a route as for a tile that is not there.
        error = RefusalError(404, NOT_FOUND)
    return respond(request.scope, error)


async def _refuse_rest(request: Request, error: Exception) -> Response:
    return respond(request.scope, unexpected())


async def _refuse_fields(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What was sent is not repeated: it may be long, or a name.
    found = [f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()[:3]]
    return respond(request.scope, RefusalError(422, "; ".join(found)))
