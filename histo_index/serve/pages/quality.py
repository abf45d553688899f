"""The page of what may be wrong with an index."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from histo_index.serve.answers.survey import Surveys
from histo_index.serve.pages.write import write_page
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State

# Short: it holds a thread that others need for searches.
_WAIT_S = 0.3


def quality_pages(state: State, surveys: Surveys) -> APIRouter:
    """Return the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/quality")
    async def show(request: Request) -> Response:
        """Show copies, isolated tiles and rejected images; the page asks again while it waits."""

        def ask(snapshot: Snapshot) -> Response:
            found = surveys.get(snapshot, _WAIT_S)
            return write_page("quality.html", request, state, snapshot, found=found)

        return await state.ask(ask)

    return routes
