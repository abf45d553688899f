"""What decoder processes do with slides: describe, cut, draw; a crash costs one slide there."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.reading.reader import Pixels, SlideFile, open_slide
from histo_index.slides.tiling.cut import (
    SlideRequest,
    TiledSlide,
    is_tile_sized,
    read_preview,
    tile_slide,
)
from histo_index.slides.tiling.options import TileOptions


class NotASlide:
    """The answer about a TIFF that is a tile."""


@dataclass(frozen=True, kw_only=True)
class DescribeWork:
    """Describes slides, for a `DecodePool`."""

    def answers(self, requests: Sequence[SlideFile]) -> Iterator[SlideInfo | ImageError]:
        """Describe each slide, in order."""
        for file in requests:
            try:
                with closing(open_slide(file)) as slide:
                    yield slide.info
            except ImageError as error:
                yield error


@dataclass(frozen=True, kw_only=True)
class TileWork:
    """Cuts slides into tiles, for a `DecodePool`."""

    options: TileOptions

    def answers(
        self, requests: Sequence[SlideRequest]
    ) -> Iterator[TiledSlide | NotASlide | ImageError]:
        """Cut each slide, in order."""
        for request in requests:
            try:
                yield self._answer(request)
            except ImageError as error:
                yield error

    def _answer(self, request: SlideRequest) -> TiledSlide | NotASlide:
        try:
            slide = open_slide(request.file)
        except ImageError:
            if request.may_be_tile:
                return NotASlide()
            raise
        with closing(slide):
            if request.may_be_tile and is_tile_sized(slide.info):
                return NotASlide()
            return tile_slide(slide, request, self.options)


@dataclass(frozen=True, kw_only=True)
class PictureWork:
    """Reads overviews of slides, for a `DecodePool`."""

    def answers(
        self, requests: Sequence[SlideFile]
    ) -> Iterator[tuple[SlideInfo, Pixels] | ImageError]:
        """Describe each slide and read a picture of its bounds, in order."""
        for file in requests:
            try:
                with closing(open_slide(file)) as slide:
                    yield slide.info, read_preview(slide)
            except ImageError as error:
                yield error
