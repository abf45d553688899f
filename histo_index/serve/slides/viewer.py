"""Read slides for pages and programs, in decoder processes of their own."""

from typing import Final

import numpy as np

from histo_index.api.slides.heatmap import Heatmap
from histo_index.encoder.decode.decoder_process import Deaths
from histo_index.encoder.decode.pool import DecodePool
from histo_index.errors import ImageError
from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError, not_found
from histo_index.serve.slides.recent import Recent
from histo_index.serve.slides.unchanged import Unchanged
from histo_index.serve.state.slide_list import IndexedSlide
from histo_index.serve.state.snapshot import Snapshot
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import SlideFile, require_libraries
from histo_index.slides.tiling.grid import Grid
from histo_index.slides.viewing.work import Facts, Overview, SlideView, Square, ViewWork

_WORKERS: Final = 2
# Answers that are kept; a picture has some 100 KB.
_PICTURES: Final = 300
_INFOS: Final = 1_000
_UNREADABLE: Final = (
    "this slide cannot be shown: it is damaged, has no scale or coarse level, or takes too long; "
    "`histo-index slide` names the reason"
)


class Viewer:
    """Describes and shows slides. No message of a reader leaves it: they name files."""

    def __init__(self, limits: Limits) -> None:
        """Prepare; processes start with the first slide."""
        self._pool: DecodePool[SlideView, SlideInfo | bytes] = DecodePool(
            ViewWork(),
            workers=_WORKERS,
            chunk=1,
            chunk_timeout_s=limits.decode_s,
            deaths=Deaths(limits.slide_rest_s),
        )
        self._unchanged = Unchanged()
        self._infos: Recent[SlideInfo] = Recent(_INFOS)
        self._pictures: Recent[bytes] = Recent(_PICTURES)

    def describe(self, snapshot: Snapshot, slide: IndexedSlide) -> SlideInfo:
        """Return what is known of a slide; its scale is known.

        Raises:
            RefusalError: it is missing, was changed, or cannot be read.
        """
        state = self._unchanged.require(snapshot, slide)
        key = slide.file, state, slide.tile.slide_mpp
        info = self._infos.get(key, lambda: self._ask_info(slide))
        if info.scale is None:
            raise RefusalError(422, _UNREADABLE)
        return info

    def show(self, snapshot: Snapshot, slide: IndexedSlide, what: Square | Overview) -> bytes:
        """Return a picture of a slide, a JPEG or PNG file.

        Raises:
            RefusalError: it is missing, was changed, or cannot be read.
        """
        state = self._unchanged.require(snapshot, slide)
        # PNG files are large, and drawings are of one query.
        is_kept = what.grid is None if isinstance(what, Overview) else not what.is_png
        if not is_kept:
            return self._ask_picture(slide, what)
        key = slide.file, state, slide.tile.slide_mpp, what
        return self._pictures.get(key, lambda: self._ask_picture(slide, what))

    def close(self) -> None:
        """End the decoder processes."""
        self._pool.close()

    def _ask_info(self, slide: IndexedSlide) -> SlideInfo:
        found = self._ask(slide, Facts())
        assert isinstance(found, SlideInfo)
        return found

    def _ask_picture(self, slide: IndexedSlide, what: Square | Overview) -> bytes:
        found = self._ask(slide, what)
        assert isinstance(found, bytes)
        return found

    def _ask(self, slide: IndexedSlide, what: Facts | Square | Overview) -> SlideInfo | bytes:
        require_libraries()
        file = SlideFile(path=slide.file, mpp=slide.tile.slide_mpp)
        (found,) = self._pool.prepare([SlideView(file=file, what=what)])
        if isinstance(found, ImageError):
            raise RefusalError(422, _UNREADABLE) from found
        return found


def find_slide(snapshot: Snapshot, slide_id: str) -> IndexedSlide:
    """Return a slide by its opaque id.

    Raises:
        RefusalError: there is no such slide.
    """
    found = snapshot.slides.get(slide_id)
    if found is None:
        raise not_found()
    return found


def tile_size(slide: IndexedSlide, info: SlideInfo) -> tuple[float, float]:
    """Return width and height of the tiles of a slide in level-0 pixels."""
    scale, side_um = info.require_scale(), slide.tile.mpp * slide.tile.size
    return side_um / scale.x, side_um / scale.y


def overview(
    slide: IndexedSlide, info: SlideInfo, side_px: int, heat: Heatmap | None = None
) -> Overview:
    """Ask for a picture of a slide with its tiles: their outlines, or values in colours."""
    width, height = tile_size(slide, info)
    grid = Grid(x=slide.x, y=slide.y, width=width, height=height)
    if heat is None:
        return Overview(side_px=side_px, grid=grid)
    return Overview(
        side_px=side_px, grid=grid, values=np.asarray(heat.values, np.float64),
        title=heat.meaning, limits=heat.limits,
    )  # fmt: skip
