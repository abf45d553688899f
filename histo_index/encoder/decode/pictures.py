"""Pictures for people: indexed tiles as JPEG or PNG, and images that somebody uploads.

This is the work of a decoder process; see `DecodePool`.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from histo_index.arrays import Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, TileImage, decode, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.decode.slide_tiles import read_slide_tiles, slide_of
from histo_index.encoder.decode.thumbnail import TileThumbnail
from histo_index.encoder.decode.worker import PreparedTile
from histo_index.errors import ImageError

_QUALITY: Final = 88
# Side of the picture that is kept of an upload.
UPLOAD_PX: Final = 512


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of an image, as shares of its width and height.

    Attributes:
        left: 0…1.
        top: 0…1.
        right: above `left`, up to 1.
        bottom: above `top`, up to 1.
    """

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class ShowFile:
    """Asks for the picture of an indexed tile.

    Attributes:
        path: of the file, or of a slide tile.
        side_px: longest side of the JPEG; None asks for a PNG at full size.
    """

    path: Path
    side_px: int | None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True)
class GreyFile:
    """Asks for the thumbnail by which copies are confirmed; see `read_thumbnails`."""

    path: Path
    size_px: int

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True)
class ReadUpload:
    """Asks for an uploaded image, prepared for the network.

    Attributes:
        data: the content of the file.
        box: the part that is meant; None is all of it.
    """

    data: bytes
    box: Box | None = None

    def __str__(self) -> str:
        return "upload"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture.

    Attributes:
        data: a JPEG or PNG file.
        sha256: of the file that it was made from; empty for a tile of a slide.
        width: of the whole image, in pixels.
        height: of the whole image, in pixels.
        prepared: an upload, ready for the network; else None.
    """

    data: bytes
    sha256: str
    width: int
    height: int
    prepared: PreparedTile | None = None


Asked = ShowFile | GreyFile | ReadUpload
Shown = Picture | TileThumbnail


@dataclass(frozen=True, kw_only=True)
class PictureWork:
    """Makes pictures.

    Attributes:
        limits: of files and uploads.
        preprocessing: of the encoder; None if it encodes no image.
    """

    limits: DecodeLimits
    preprocessing: Preprocessing | None

    def answers(self, requests: Sequence[Asked]) -> Iterator[Shown | ImageError]:
        """Answer each request, in order."""
        for request in requests:
            try:
                yield self._answer(request)
            except ImageError as error:
                yield error

    def _answer(self, request: Asked) -> Shown:
        if isinstance(request, ReadUpload):
            return self._read_upload(request)
        tile = self._read_file(request.path)
        if isinstance(request, ShowFile):
            return _picture(tile.pixels, tile.sha256, request.side_px)
        side = (request.size_px, request.size_px)
        small = Image.fromarray(tile.pixels).convert("L").resize(side, Image.Resampling.HAMMING)
        return TileThumbnail(pixels=np.asarray(small), sha256=tile.sha256)

    def _read_file(self, path: Path) -> TileImage:
        if slide_of(path) is None:
            return read_tile(path, self.limits)
        (tile,) = read_slide_tiles([path], self.limits)
        if isinstance(tile, ImageError):
            raise tile
        return tile

    def _read_upload(self, upload: ReadUpload) -> Picture:
        pixels, note = decode(upload.data, max_pixels=self.limits.max_pixels, name="upload")
        digest = hashlib.sha256(upload.data).hexdigest()
        if upload.box is not None:
            # What is cut out is another image than the file.
            pixels, digest = _cut(pixels, upload.box), ""
        prepared = None
        if self.preprocessing is not None:
            prepared = PreparedTile(
                name="upload", pixels=fit_tile(pixels, self.preprocessing), sha256=digest,
                width=pixels.shape[1], height=pixels.shape[0], note=note,
            )  # fmt: skip
        return _picture(pixels, digest, UPLOAD_PX, prepared)


def _cut(pixels: Pixels, box: Box) -> Pixels:
    height, width = pixels.shape[:2]
    left, right = round(box.left * width), round(box.right * width)
    top, bottom = round(box.top * height), round(box.bottom * height)
    if right - left < 2 or bottom - top < 2:
        raise ImageError(f"upload: the crop box is empty: {right - left}×{bottom - top} pixels")
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _picture(
    pixels: Pixels, sha256: str, side_px: int | None, prepared: PreparedTile | None = None
) -> Picture:
    height, width = pixels.shape[:2]
    image, written = Image.fromarray(pixels), io.BytesIO()
    if side_px is None:
        image.save(written, format="PNG", compress_level=1)
    else:
        image.thumbnail((side_px, side_px))
        image.save(written, format="JPEG", quality=_QUALITY)
    return Picture(
        data=written.getvalue(), sha256=sha256, width=width, height=height, prepared=prepared
    )
