"""The page of a pair: two images side by side at the same scale."""

from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from histo_index.serve.answers.asked import one_text
from histo_index.serve.answers.pair import Compared, Side, compare
from histo_index.serve.pages.chart import draw_spread
from histo_index.serve.pages.write import write_page
from histo_index.serve.rest.forms import reading_form, take_uploads
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State

_SIDE_PX: Final = 420


def pair_pages(state: State) -> APIRouter:
    """Return the routes of the pair page."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/pair")
    async def show(request: Request, a: str = "", b: str = "") -> Response:
        """Show two images and the verdict; with one or none, a form for the other."""

        def ask(snapshot: Snapshot) -> Response:
            values: dict[str, Any] = {"found": None, "given": a or b}
            if a and b:
                values |= _compare(snapshot, state, a, b)
            elif a or b:
                # Only to refuse one that is not there.
                compare(snapshot, state.uploads, a or b, a or b)
            return write_page("pair.html", request, state, snapshot, **values)

        return await state.ask(ask)

    @routes.post("/pair")
    async def upload(request: Request) -> Response:
        """Take images in and go to the address of their pair."""
        async with reading_form(request, state) as form:
            both = [given for given in [one_text(form, "a")] if given]
            both += await take_uploads(form, state)
            if len(both) != 2:
                raise RefusalError(422, "expected two images, or one beside the one that is chosen")
            query = urlencode({"a": both[0], "b": both[1]})
            return RedirectResponse(f"{state.config.root_path}/pair?{query}", 303)

    return routes


def _compare(snapshot: Snapshot, state: State, a: str, b: str) -> dict[str, Any]:
    found = compare(snapshot, state.uploads, a, b)
    calibration = snapshot.index.threshold(is_decisive=False).calibration
    histogram = calibration.histogram if calibration else None
    return {
        "found": found,
        "chart": draw_spread(histogram, [found.distance], found.threshold),
        "sizes": sizes(found),
        "is_to_scale": None not in (found.a.side_um, found.b.side_um),
    }


def sizes(found: Compared) -> list[tuple[int, int]]:
    """Compute width and height of both images on the page, so that equal lengths are equal µm.

    Where a scale is unknown, both are as wide as the page allows.
    """
    sides = (found.a, found.b)
    if found.a.side_um and found.b.side_um:
        largest = max(found.a.side_um, found.b.side_um)
        return [_fit(side, _SIDE_PX * (side.side_um or 0) / largest) for side in sides]
    return [_fit(side, _SIDE_PX) for side in sides]


def _fit(side: Side, longest: float) -> tuple[int, int]:
    scale = longest / max(side.width, side.height, 1)
    return max(round(side.width * scale), 1), max(round(side.height * scale), 1)
