"""Marks: pairs to be marked, answers, labels, undo, and the calibration that reads them."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from histo_index.errors import InputError
from histo_index.search.marks.standing import Standing
from histo_index.search.marks.table import label_table, pair_table
from histo_index.serve.answers.marking import Marking, Proposed
from histo_index.serve.rest.shapes import answer, to_csv
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.serve.state.state import State

_MOST_TILES = 500
# Messages of a calibration name a tile, or a group that may be a slide.
_NAMED = re.compile(
    r"; the first: .*|(?<=share )(group|tile) .*?(?=; add pairs that do not involve it$|$)",
    re.DOTALL,
)


class Answer(BaseModel):
    """An answer to a proposed pair."""

    model_config = ConfigDict(extra="forbid")
    proposal: str
    answer: Literal["same", "different", "skipped"]


class Labels(BaseModel):
    """A label for tiles; null takes it back."""

    model_config = ConfigDict(extra="forbid")
    ids: Annotated[list[str], Field(min_length=1, max_length=_MOST_TILES)]
    label: str | None


def mark_routes(state: State, marking: Marking) -> APIRouter:
    """Return the routes of marks."""
    routes = APIRouter(prefix="/v1", tags=["marks"])

    @routes.get("/proposals")
    async def propose(count: Annotated[int, Query(ge=1, le=50)] = 5) -> Response:
        """Draw pairs to be marked: one third at random, the others near the threshold."""

        def ask(snapshot: Snapshot) -> Response:
            found = marking.propose(snapshot, count)
            return answer(
                {"proposals": [proposal_json(snapshot, one) for one in found]}, snapshot.tag
            )

        return await state.ask(ask)

    @routes.get("/marks")
    async def count() -> Response:
        """Count the marks, what a calibration still needs, and how sure the threshold is."""

        def ask(snapshot: Snapshot) -> Response:
            return answer(standing_json(marking.standing(snapshot)), snapshot.tag)

        return await state.ask(ask)

    @routes.post("/marks")
    async def mark(given: Answer) -> Response:
        """Store an answer; it is on disk when this returns."""

        def ask(snapshot: Snapshot) -> Response:
            marking.mark_pair(snapshot, given.proposal, given.answer)
            return answer({"stored": 1}, snapshot.tag)

        return await state.change(ask)

    @routes.post("/marks/undo")
    async def undo() -> Response:
        """Take the last mark back."""

        def ask(snapshot: Snapshot) -> Response:
            return answer({"undone": int(marking.undo(snapshot))}, snapshot.tag)

        return await state.change(ask)

    @routes.post("/calibrate")
    async def calibrate() -> Response:
        """Calibrate the index on its marks; the next answers use it."""

        def ask(snapshot: Snapshot) -> Response:
            marking.require_writable()
            try:
                found = snapshot.index.calibrate(marks=True)
            except InputError as error:
                raise InputError(_without_names(str(error))) from error
            kept = ("threshold", "accuracy", "prior", "pairs", "units")
            facts = {name: found.as_dict()[name] for name in kept}
            classes = [] if found.classes is None else [plain(one) for one in found.classes.names]
            shown = [plain(_without_names(one)) for one in found.warnings]
            return answer({**facts, "classes": classes, "warnings": shown}, "")

        return await state.change(ask)

    return routes


def label_routes(state: State, marking: Marking) -> APIRouter:
    """Return the routes of labels and of downloads."""
    routes = APIRouter(prefix="/v1", tags=["marks"])

    @routes.get("/labels")
    async def list_labels() -> Response:
        """List the labels that users gave to tiles."""

        def ask(snapshot: Snapshot) -> Response:
            rows = label_table(snapshot.opened).to_pylist()
            return answer({"labels": [_anonymous(snapshot, row) for row in rows]}, snapshot.tag)

        return await state.ask(ask)

    @routes.post("/labels")
    async def label(given: Labels) -> Response:
        """Store a label for tiles."""

        def ask(snapshot: Snapshot) -> Response:
            stored = marking.label_tiles(snapshot, given.ids, given.label)
            return answer({"stored": stored}, snapshot.tag)

        return await state.change(ask)

    @routes.get("/marks.csv")
    async def download() -> Response:
        """Download the marked pairs."""

        def ask(snapshot: Snapshot) -> Response:
            table = pair_table(snapshot.opened)
            rows = [list(_anonymous(snapshot, row).values()) for row in table.to_pylist()]
            headers = {"Content-Disposition": 'attachment; filename="marks.csv"'}
            text = to_csv(table.column_names, rows)
            return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

        return await state.ask(ask)

    return routes


def proposal_json(snapshot: Snapshot, found: Proposed) -> dict[str, Any]:
    """Write a proposal; neither its distance nor how it was drawn, so that nobody is led."""
    left, right = found.proposal.left, found.proposal.right
    return {
        "proposal": found.proposal_id,
        "a": snapshot.ids.id_of(left),
        "b": snapshot.ids.id_of(right),
    }


def standing_json(found: Standing) -> dict[str, Any]:
    """Write how far the marks have come."""
    steps = [
        {
            "pairs": step.pairs, **asdict(step.threshold), "width": step.width,
            "problem": step.problem,
        }
        for step in found.steps
    ]  # fmt: skip
    needs = [{**asdict(need), "is_met": need.is_met} for need in found.needs]
    return {**vars(found), "needs": needs, "steps": steps, "is_enough": found.is_enough}


def _without_names(message: str) -> str:
    return _NAMED.sub(lambda found: f"one {found[1]}" if found[1] else "", message)


def _anonymous(snapshot: Snapshot, row: dict[str, Any]) -> dict[str, Any]:
    """Replace image ids by opaque ones, unless names are shown."""
    found = {name: plain(value) for name, value in row.items()}
    if "image_id" not in snapshot.columns:
        for name in ("image_id", "image_a", "image_b"):
            if name in row:
                found[name] = snapshot.ids.id_of_name(row[name])
    return found
