"""Cut the slides of a build, in decoder processes."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from histo_index.api.slides.open import slide_pool
from histo_index.errors import ImageError
from histo_index.indexer.inputs.slides import SlideToCut
from histo_index.progress import track
from histo_index.slides.reading.reader import SlideFile, require_libraries
from histo_index.slides.tiling.options import TileOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from histo_index.encoder.decode.pool import DecodePool

_log = logging.getLogger(__name__)


def cut_slides(
    slides: Sequence[SlideToCut], options: TileOptions
) -> "Iterator[pa.Table | ImageError | None]":
    """Cut slides into tiles; see `CutSlides`.

    Raises:
        InputError: the libraries for slides are not installed.
    """
    from histo_index.slides.tiling.manifest import tile_table
    from histo_index.slides.tiling.work import NotASlide, SlideRequest, TiledSlide, TileWork

    require_libraries()
    requests = [
        SlideRequest(file=SlideFile.of(slide.path, slide.mpp), may_be_tile=slide.may_be_tile)
        for slide in slides
    ]
    pool: DecodePool[SlideRequest, TiledSlide | NotASlide]
    pool = slide_pool(TileWork(options=options), len(requests))
    with pool:
        results = pool.prepare(requests)
        for slide, found in zip(slides, track(results, "tiling", total=len(slides)), strict=True):
            if isinstance(found, ImageError):
                yield found
            elif isinstance(found, NotASlide):
                yield None
            elif not len(found.grid.x):
                yield ImageError(f"{slide.path}: {found.problems[-1]}")
            else:
                for problem in found.problems:
                    _log.warning("%s: %s", slide.path, problem)
                yield tile_table(found, options, name="", slide_mpp=slide.mpp)
