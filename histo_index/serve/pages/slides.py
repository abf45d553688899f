"""The pages of slides: a list of them, and one slide with its tiles and a heatmap."""

from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from histo_index.api.slides.heatmap import Heatmap
from histo_index.errors import InputError
from histo_index.serve.answers.asked import one_text
from histo_index.serve.pages.write import write_page
from histo_index.serve.rest.forms import reading_form, take_uploads
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.slides.heat import COLOURS, HeatAsked, Heats, limits_of, list_classes
from histo_index.serve.slides.viewer import Viewer, find_slide
from histo_index.serve.state.slide_list import IndexedSlide
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.serve.state.state import State
from histo_index.slides.reading.info import SlideInfo

_SLIDES: Final = 12
_TILES: Final = 50


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """A slide of the list, and what its file says or why it cannot be shown."""

    slide: IndexedSlide
    info: SlideInfo | None
    problem: str | None


def slide_pages(state: State, viewer: Viewer, heats: Heats) -> APIRouter:
    """Return the routes of the pages of slides."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/slides")
    async def list_all(request: Request, page: int = 0) -> Response:
        """Show the slides; what is drawn over one goes with the links to all."""

        def ask(snapshot: Snapshot) -> Response:
            asked = HeatAsked.read(request.query_params, state.config.limits)
            number = min(max(page, 0), max(len(snapshot.slides) - 1, 0) // _SLIDES)
            some = list(snapshot.slides.values())[number * _SLIDES :][:_SLIDES]
            listed = [_describe(viewer, snapshot, slide) for slide in some]
            return write_page(
                "slides.html", request, state, snapshot, listed=listed, asked=asked, page=number,
                pages=-(-len(snapshot.slides) // _SLIDES), total=len(snapshot.slides),
            )  # fmt: skip

        return await state.view(ask)

    @routes.get("/slide")
    async def show(request: Request, slide: str = "", page: int = 0) -> Response:
        """Show one slide; its address holds all that is drawn over it."""

        def ask(snapshot: Snapshot) -> Response:
            one = find_slide(snapshot, slide)
            asked = HeatAsked.read(request.query_params, state.config.limits)
            listed = _describe(viewer, snapshot, one)
            values = _values(snapshot, heats, one, asked)
            return write_page(
                "slide.html", request, state, snapshot, listed=listed, asked=asked,
                change=_changes(asked), classes=list_classes(snapshot, one), **values,
                **_table(snapshot, one, values["heat"], page),
            )  # fmt: skip

        return await state.view(ask)

    @routes.post("/slide")
    async def upload(request: Request) -> Response:
        """Take images in and go to the address of the slide with their heatmap."""
        async with reading_form(request, state) as form:
            asked = HeatAsked.read(form, state.config.limits)
            uploads = await take_uploads(form, state)
            if not uploads:
                raise RefusalError(422, "no image was chosen")
            asked = replace(asked, like=(*asked.like, *uploads), label="")
            named = urlencode({"slide": one_text(form, "slide")})
            return RedirectResponse(f"{state.config.root_path}/slide?{named}&{asked.query()}", 303)

    return routes


def _describe(viewer: Viewer, snapshot: Snapshot, slide: IndexedSlide) -> _Listed:
    try:
        info = viewer.describe(snapshot, slide)
    except RefusalError as refusal:
        return _Listed(slide=slide, info=None, problem=refusal.detail)
    return _Listed(slide=slide, info=info, problem=None)


def _values(
    snapshot: Snapshot, heats: Heats, slide: IndexedSlide, asked: HeatAsked
) -> dict[str, Any]:
    """Measure what is asked; a class without a probability leaves the slide to be seen."""
    if not asked:
        return {"heat": None, "legend": None, "problem": None, "notes": []}
    try:
        heat = heats.measure(snapshot, slide, asked)
    except InputError as error:
        return {"heat": None, "legend": None, "problem": str(error), "notes": []}
    low, high = limits_of(heat)
    legend = {"meaning": heat.meaning, "low": low, "high": high, "colours": COLOURS}
    notes = heats.scale_notes(snapshot, asked)
    return {"heat": heat, "legend": legend, "problem": None, "notes": notes}


def _changes(asked: HeatAsked) -> dict[str, str]:
    """Write the query of an address without each example, by its id."""
    found = {}
    for given in (*asked.like, *asked.unlike):
        like, unlike = (
            tuple(one for one in ids if one != given) for ids in (asked.like, asked.unlike)
        )
        found[given] = replace(asked, like=like, unlike=unlike if like else ()).query()
    return found


def _table(
    snapshot: Snapshot, slide: IndexedSlide, heat: Heatmap | None, page: int
) -> dict[str, Any]:
    """Select the tiles of a page of the table: those with the highest values first."""
    order = np.arange(len(slide.rows)) if heat is None else np.argsort(-heat.values, kind="stable")
    pages = -(-len(order) // _TILES)
    number = min(max(page, 0), pages - 1)
    rows = [
        {
            "id": snapshot.ids.id_of(int(slide.rows[one])),
            "x": int(slide.x[one]),
            "y": int(slide.y[one]),
            "value": None if heat is None else float(heat.values[one]),
            "label": plain(snapshot.facts(int(slide.rows[one])).get("label")),
        }
        for one in order[number * _TILES :][:_TILES].tolist()
    ]
    return {"rows": rows, "page": number, "pages": pages}
