"""Slides: what is known of one, its pixels, its tiles, and values over them."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from histo_index.indexer.writing.commit import read_rejected
from histo_index.serve.rest.shapes import answer
from histo_index.serve.rest.tiles import unchanged
from histo_index.serve.safety.refusal import RefusalError, not_found
from histo_index.serve.slides.heat import COLOURS, HeatAsked, Heats, limits_of
from histo_index.serve.slides.viewer import Viewer, find_slide, overview, tile_size
from histo_index.serve.state.slide_list import IndexedSlide, rejected_places
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.serve.state.state import State
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.viewing.pyramid import SQUARE_PX, list_levels
from histo_index.slides.viewing.work import Overview, Square

# Few, so that pictures are made once for all pages.
OVERVIEWS: Final = (320, 1280)


def slide_routes(state: State, viewer: Viewer, heats: Heats) -> APIRouter:
    """Return the routes of slides and their tiles."""
    routes = APIRouter(prefix="/v1", tags=["slides"])

    @routes.get("/slides")
    async def list_all(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        start: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> Response:
        """List the slides of the index, from `start`."""

        def ask(snapshot: Snapshot) -> Response:
            found = list(snapshot.slides.values())[start : start + limit]
            rows = [slide_json(slide, shows_names=state.config.shows_names) for slide in found]
            return answer({"slides": rows, "total": len(snapshot.slides)}, snapshot.tag)

        return await state.ask(ask)

    @routes.get("/slides/{slide_id}")
    async def read_slide(slide_id: str) -> Response:
        """Return size, scale and levels of a slide."""

        def ask(snapshot: Snapshot) -> Response:
            slide = find_slide(snapshot, slide_id)
            facts = slide_json(slide, shows_names=state.config.shows_names)
            info = viewer.describe(snapshot, slide)
            return answer({**facts, **info_json(slide, info)}, snapshot.tag)

        return await state.view(ask)

    @routes.get("/slides/{slide_id}/tiles")
    async def list_tiles(slide_id: str) -> Response:
        """List the indexed tiles of a slide, `[id, x, y]`, and where tiles were rejected."""

        def ask(snapshot: Snapshot) -> Response:
            slide = find_slide(snapshot, slide_id)
            rejected = read_rejected(snapshot.opened.folder, snapshot.opened.manifest)
            places = rejected_places(slide, [one.path for one in rejected])
            return answer({"tiles": _tiles(snapshot, slide), "rejected": places}, snapshot.tag)

        return await state.ask(ask)

    @routes.get("/slides/{slide_id}/heatmap")
    async def read_heatmap(request: Request, slide_id: str) -> Response:
        """Return a value for each tile, `[id, x, y, value]`: likeness to `id`, or of a `class`."""

        def ask(snapshot: Snapshot) -> Response:
            slide = find_slide(snapshot, slide_id)
            asked = HeatAsked.read(request.query_params, state.config.limits)
            heat = heats.measure(snapshot, slide, asked)
            values = heat.values.tolist()
            rows = [
                [*tile, value] for tile, value in zip(_tiles(snapshot, slide), values, strict=True)
            ]
            notes = heats.scale_notes(snapshot, asked)
            facts = {
                "meaning": plain(heat.meaning), "limits": limits_of(heat), "colours": COLOURS,
                "scale_notes": notes,
            }  # fmt: skip
            return answer({**facts, "tiles": rows}, snapshot.tag)

        return await state.ask(ask)

    return routes


def region_routes(state: State, viewer: Viewer, heats: Heats) -> APIRouter:
    """Return the routes of the pixels of slides."""
    routes = APIRouter(prefix="/v1", tags=["slides"])

    @routes.get("/slides/{slide_id}/regions/{level}/{place}")
    async def read_region(
        request: Request,
        slide_id: str,
        level: str,
        place: str,
        kind: Annotated[Literal["jpeg", "png"], Query(alias="format")] = "jpeg",
    ) -> Response:
        """Return a square of 512 pixels; `place` is `column_row`."""

        def show(snapshot: Snapshot) -> Response:
            slide = find_slide(snapshot, slide_id)
            square = _read_square(level, place, is_png=kind == "png")
            _require_inside(viewer.describe(snapshot, slide), square)
            if known := unchanged(request, snapshot):
                return known
            return _picture(viewer.show(snapshot, slide, square), kind, snapshot)

        return await state.view(show)

    @routes.get("/slides/{slide_id}/overview")
    async def read_overview(
        request: Request, slide_id: str, size: int = OVERVIEWS[0],
        tiles: Annotated[bool, Query()] = False,
    ) -> Response:  # fmt: skip
        """Return a JPEG of a slide; `tiles` draws its tiles, or a heatmap with `id` or `class`."""
        if size not in OVERVIEWS:
            raise RefusalError(422, f"size: expected one of {', '.join(map(str, OVERVIEWS))}")

        def show(snapshot: Snapshot) -> Response:
            slide = find_slide(snapshot, slide_id)
            info = viewer.describe(snapshot, slide)
            if known := unchanged(request, snapshot):
                return known
            what = Overview(side_px=size)
            if tiles:
                asked = HeatAsked.read(request.query_params, state.config.limits)
                heat = heats.measure(snapshot, slide, asked) if asked else None
                what = overview(slide, info, size, heat)
            return _picture(viewer.show(snapshot, slide, what), "jpeg", snapshot)

        return await state.view(show)

    return routes


def slide_json(slide: IndexedSlide, *, shows_names: bool) -> dict[str, Any]:
    """Write what the index knows of a slide."""
    named = {"name": plain(slide.name)} if shows_names else {}
    return {
        "id": slide.slide_id, **named, "tiles": len(slide.rows),
        "tile_mpp": slide.tile.mpp, "tile_px": slide.tile.size,
    }  # fmt: skip


def info_json(slide: IndexedSlide, info: SlideInfo) -> dict[str, Any]:
    """Write what the file of a slide says: no names, and nothing of label pictures."""
    scale, bounds = info.require_scale(), info.bounds
    return {
        "width": info.width,
        "height": info.height,
        "mpp": [scale.x, scale.y],
        "bounds": [bounds.x, bounds.y, bounds.width, bounds.height],
        "tile_size": list(tile_size(slide, info)),
        "square_px": SQUARE_PX,
        "levels": [
            {
                "downsample": level.downsample, "width": level.width, "height": level.height,
                "columns": level.columns, "rows": level.rows,
            }
            for level in list_levels(info)
        ],
    }  # fmt: skip


def _tiles(snapshot: Snapshot, slide: IndexedSlide) -> list[list[Any]]:
    places = zip(slide.rows.tolist(), slide.x.tolist(), slide.y.tolist(), strict=True)
    return [[snapshot.ids.id_of(row), x, y] for row, x, y in places]


def _read_square(level: str, place: str, *, is_png: bool) -> Square:
    column, _, row = place.partition("_")
    if not all(
        text.isascii() and text.isdigit() and len(text) <= 9 for text in (level, column, row)
    ):
        raise not_found()
    return Square(level=int(level), column=int(column), row=int(row), is_png=is_png)


def _require_inside(info: SlideInfo, square: Square) -> None:
    levels = list_levels(info)
    is_inside = (
        square.level < len(levels)
        and square.column < levels[square.level].columns
        and square.row < levels[square.level].rows
    )
    if not is_inside:
        raise not_found()


def _picture(data: bytes, kind: str, snapshot: Snapshot) -> Response:
    return Response(data, media_type=f"image/{kind}", headers={"ETag": f'"{snapshot.tag}"'})
