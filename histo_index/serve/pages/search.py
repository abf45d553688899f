"""The page of a search. Its whole state is in its address, so that going back works."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from histo_index.serve.answers.asked import Asked
from histo_index.serve.answers.marking import labels_of
from histo_index.serve.answers.search import Found, find, relax
from histo_index.serve.pages.chart import draw_spread
from histo_index.serve.pages.write import OPERATOR_NAMES, write_page
from histo_index.serve.rest.forms import reading_form, take_uploads
from histo_index.serve.rest.tiles import sample_rows, tile_json
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State

_SHOWN: Final = 24
# Rows of filters that a form offers.
_ROWS: Final = 3


def search_pages(state: State) -> APIRouter:
    """Return the routes of the search page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    @routes.get("/search")
    async def show(request: Request, seed: int = 0) -> Response:
        """Show the tiles like some examples; without examples, tiles to choose from."""

        def ask(snapshot: Snapshot) -> Response:
            asked = Asked.read(request.query_params, snapshot.columns, state.config.limits)
            values: dict[str, Any] = {"found": None}
            if asked.like:
                values = _results(snapshot, state, asked)
            else:
                rows = sample_rows(snapshot, asked, _SHOWN, abs(seed) % 2**31)
                values["choice"] = [tile_json(snapshot, row) for row in rows]
            return write_page(
                "search.html", request, state, snapshot, asked=asked, seed=seed,
                **_form(snapshot, asked), **values,
            )  # fmt: skip

        return await state.ask(ask)

    @routes.post("/search")
    async def upload(request: Request) -> Response:
        """Take images in and go to the address of their search."""
        async with reading_form(request, state) as form:
            uploads = await take_uploads(form, state)
            if not uploads:
                raise RefusalError(422, "no image was chosen")

            def ask(snapshot: Snapshot) -> Response:
                asked = Asked.read(form, snapshot.columns, state.config.limits)
                asked = asked.change(like=(*uploads, *asked.like))
                where = f"{state.config.root_path}/search?{asked.query()}"
                return RedirectResponse(where, 303)

            return await state.ask(ask)

    return routes


def _results(snapshot: Snapshot, state: State, asked: Asked) -> dict[str, Any]:
    relaxed = relax(snapshot, state.uploads, asked)
    found = find(snapshot, state.uploads, relaxed)
    calibration = snapshot.index.threshold(is_decisive=False).calibration
    distances = [hit.distance for hit in found.hits]
    histogram = calibration.histogram if calibration else None
    return {
        "found": found,
        "relaxed": relaxed,
        "chart": draw_spread(histogram, distances, found.threshold),
        "change": _changes(asked, found),
        "marked": labels_of(snapshot, [hit.id for hit in found.hits]),
    }


def _changes(asked: Asked, found: Found) -> dict[str, dict[str, str]]:
    """Write the addresses that the page links to, by what they do and the id they do it with."""
    alone = {hit.id: asked.change(like=(hit.id,), unlike=()).query() for hit in found.hits}
    like = {hit.id: asked.change(like=(*asked.like, hit.id)).query() for hit in found.hits}
    unlike = {hit.id: asked.change(unlike=(*asked.unlike, hit.id)).query() for hit in found.hits}
    without = {
        given: asked.change(
            like=tuple(one for one in asked.like if one != given),
            unlike=tuple(one for one in asked.unlike if one != given),
        ).query()
        for given in (*asked.like, *asked.unlike)
    }
    return {"alone": alone, "like": like, "unlike": unlike, "without": without}


def _form(snapshot: Snapshot, asked: Asked) -> dict[str, Any]:
    """Return what the form of filters offers."""
    empty = max(_ROWS - len(asked.conditions), 1)
    return {
        "columns": snapshot.columns,
        "operators": OPERATOR_NAMES,
        "conditions": [*asked.conditions, *[None] * empty],
        "suggested": snapshot.suggestions,
        "groups": [name for name in snapshot.columns if name not in ("width", "height", "mpp")],
    }
