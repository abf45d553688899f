"""The questions: search, pair, pairs and classify."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict

from histo_index.search.classification.answer import ClassAnswer
from histo_index.serve.answers.asked import Asked, Fields, texts
from histo_index.serve.answers.locate import locate, scale_notes
from histo_index.serve.answers.pair import compare
from histo_index.serve.answers.search import find
from histo_index.serve.rest.forms import FORM, reading_form, take_uploads
from histo_index.serve.rest.shapes import answer, class_json, pair_json, search_csv, search_json
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot
from histo_index.serve.state.state import State


class PairList(BaseModel):
    """Pairs of ids."""

    model_config = ConfigDict(extra="forbid")
    pairs: list[tuple[str, str]]


def search_routes(state: State) -> APIRouter:
    """Return the routes of searches."""
    routes = APIRouter(prefix="/v1", tags=["questions"])

    async def search(fields: Fields, uploads: list[str]) -> Response:
        def ask(snapshot: Snapshot) -> Response:
            asked = Asked.read(fields, snapshot.columns, state.config.limits)
            asked = asked.change(like=(*uploads, *asked.like))
            found = find(snapshot, state.uploads, asked)
            return answer(search_json(found, asked), snapshot.tag)

        return await state.ask(ask)

    @routes.get("/search")
    async def search_tiles(request: Request) -> Response:
        """Find tiles like `id` and unlike `unlike`; fields as in the documentation."""
        return await search(request.query_params, [])

    @routes.post("/search", openapi_extra=FORM)
    async def search_images(request: Request) -> Response:
        """Find tiles like an image, the form field `image`."""
        async with reading_form(request, state) as form:
            return await search(form, await take_uploads(form, state))

    @routes.get("/search.csv", response_class=PlainTextResponse)
    async def download(request: Request) -> Response:
        """Find tiles as CSV."""

        def ask(snapshot: Snapshot) -> Response:
            asked = Asked.read(request.query_params, snapshot.columns, state.config.limits)
            text = search_csv(find(snapshot, state.uploads, asked))
            headers = {"Content-Disposition": 'attachment; filename="neighbours.csv"'}
            return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

        return await state.ask(ask)

    return routes


def pair_routes(state: State) -> APIRouter:
    """Return the routes of pairs."""
    routes = APIRouter(prefix="/v1", tags=["questions"])

    async def pair(a: str, b: str) -> Response:
        def ask(snapshot: Snapshot) -> Response:
            return answer(pair_json(compare(snapshot, state.uploads, a, b)), snapshot.tag)

        return await state.ask(ask)

    @routes.get("/pair")
    async def pair_tiles(a: str, b: str) -> Response:
        """Decide whether two tiles are of the same category."""
        return await pair(a, b)

    @routes.post("/pair", openapi_extra=FORM)
    async def pair_images(request: Request) -> Response:
        """Decide about two images: two fields `image`, or one and an `id`."""
        async with reading_form(request, state) as form:
            both = [*await take_uploads(form, state), *texts(form, "id")]
            if len(both) != 2:
                raise RefusalError(422, f"expected two images or ids, got {len(both)}")
            return await pair(*both)

    @routes.post("/pairs")
    async def pair_list(asked: PairList) -> Response:
        """Decide about a list of pairs of tiles: a row each, in order."""
        most = state.config.limits.pairs
        if len(asked.pairs) > most:
            raise RefusalError(422, f"pairs: {len(asked.pairs)}, at most {most} at a time")

        def ask(snapshot: Snapshot) -> Response:
            rows = [_pair_row(snapshot, state, a, b) for a, b in asked.pairs]
            return answer({"pairs": rows}, snapshot.tag)

        return await state.ask(ask)

    return routes


def class_routes(state: State) -> APIRouter:
    """Return the routes of classes."""
    routes = APIRouter(prefix="/v1", tags=["questions"])

    async def classify(ids: list[str]) -> Response:
        def ask(snapshot: Snapshot) -> Response:
            located = [locate(snapshot, state.uploads, given) for given in ids]
            found = snapshot.index.classify_each(located, {})
            rows = [
                {"id": given, **class_json(one), "scale_notes": scale_notes(snapshot, [image])}
                for given, image, one in zip(ids, located, found, strict=True)
                if isinstance(one, ClassAnswer)
            ]
            return answer({"images": rows}, snapshot.tag)

        return await state.ask(ask)

    @routes.get("/classify")
    async def classify_tiles(
        ids: Annotated[list[str], Query(alias="id", max_length=16)],
    ) -> Response:
        """Compute how likely tiles are of each class that the calibration knows."""
        return await classify(ids)

    @routes.post("/classify", openapi_extra=FORM)
    async def classify_images(request: Request) -> Response:
        """Compute it for images, the form field `image`."""
        async with reading_form(request, state) as form:
            return await classify([*await take_uploads(form, state), *texts(form, "id")])

    return routes


def _pair_row(snapshot: Snapshot, state: State, a: str, b: str) -> dict[str, Any]:
    """Write the answer to a pair of a list; one that is refused says why."""
    try:
        found = compare(snapshot, state.uploads, a, b)
    except RefusalError as refusal:
        return {"a": a, "b": b, "status": "error", "message": refusal.detail}
    kept = ("verdict", "distance", "probability", "probability_low", "probability_high", "prior")
    facts = {name: getattr(found, name) for name in kept}
    message = "; ".join(filter(None, [found.unsure_because, *found.scale_notes]))
    return {"a": a, "b": b, **facts, "status": "ok", "message": message}
