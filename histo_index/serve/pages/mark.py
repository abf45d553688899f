"""The page where pairs are marked. Every write needs a header, so it needs JavaScript."""

import math

from fastapi import APIRouter, Request
from fastapi.responses import Response

from histo_index.serve.answers.disputes import find_disputes
from histo_index.serve.answers.marking import Marking
from histo_index.serve.pages.write import write_page
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State


def mark_pages(state: State, marking: Marking) -> APIRouter:
    """Return the route of the page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/mark")
    async def show(request: Request, width: float = 0.2) -> Response:
        """Show how far the marks have come; a script shows pair after pair."""

        def ask(snapshot: Snapshot) -> Response:
            return write_page(
                "mark.html", request, state, snapshot, standing=marking.standing(snapshot),
                width=min(max(width, 0.01), 4.0) if math.isfinite(width) else 0.2,
                user=state.config.user, disputes=find_disputes(snapshot),
            )  # fmt: skip

        return await state.ask(ask)

    return routes
