"""Write slides whose content is known: tissue of the demo renderer on glass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tifffile

from histo_index.demo.tiles import render_tile
from histo_index.errors import ImageError
from histo_index.indexer.inputs.slides import SlideToCut
from histo_index.slides.reading.reader import SlideFile
from histo_index.slides.tiling.cut import SlideRequest
from histo_index.slides.tiling.manifest import tile_table
from histo_index.slides.tiling.options import TileOptions
from histo_index.slides.tiling.work import NotASlide, TileWork

Pixels = npt.NDArray[np.uint8]

GLASS: Final = (243, 242, 244)
BLOCK: Final = 256
# Blocks of 256 px of a category at a column and row of the plane.
PLAN: Final = (
    ("stroma", 1, 1), ("glands", 2, 1), ("lymphocytes", 3, 1),
    ("muscle", 1, 2), ("glands", 2, 2), ("stroma", 3, 2),
)  # fmt: skip
COLUMNS, ROWS = 6, 5


@dataclass(frozen=True, kw_only=True)
class SlideLook:
    """How a slide is written."""

    mpp: float | None = 0.5
    mpp_y: float | None = None
    downsamples: Sequence[int] = (1, 4)
    compression: str | None = "zlib"
    tile: tuple[int, int] | None = (256, 256)
    options: dict[str, Any] | None = None


def draw_plane(*, seed: int = 0) -> Pixels:
    """Draw tissue on glass: uint8 RGB [ROWS·256, COLUMNS·256, 3]."""
    plane = np.full((ROWS * BLOCK, COLUMNS * BLOCK, 3), GLASS, np.uint8)
    for number, (category, column, row) in enumerate(PLAN):
        top, left = row * BLOCK, column * BLOCK
        plane[top : top + BLOCK, left : left + BLOCK] = block(category, 10 * seed + number)
    return plane


@cache
def block(category: str, seed: int) -> Pixels:
    return render_tile(category, seed=seed, size_px=BLOCK)


def drawn_tissue() -> npt.NDArray[np.bool_]:
    """Return where the plane holds tissue: bool, the shape of the plane."""
    tissue = np.zeros((ROWS * BLOCK, COLUMNS * BLOCK), bool)
    for _, column, row in PLAN:
        tissue[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = True
    return tissue


def write_slide(path: Path, plane: Pixels, look: SlideLook | None = None) -> Path:
    """Write a pyramidal TIFF, lossless unless asked otherwise."""
    look = look or SlideLook()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for number, downsample in enumerate(look.downsamples):
            writer.write(shrink(plane, downsample), **_page(look, number))
    return path


def cut_here(slides: Sequence[SlideToCut], options: TileOptions) -> Iterator[pa.Table | None]:
    """Cut whole slides in this process, which saves the start of decoder processes."""
    for slide in slides:
        file = SlideFile.of(slide.path, slide.mpp)
        request = SlideRequest(file=file, may_be_tile=slide.may_be_tile)
        (tiled,) = TileWork(options=options).answers([request])
        assert not isinstance(tiled, ImageError), tiled
        if isinstance(tiled, NotASlide):
            yield None
        else:
            yield tile_table(tiled, options, name="", slide_mpp=slide.mpp)


def shrink(plane: Pixels, downsample: int) -> Pixels:
    """Shrink a picture by a whole number: means of squares."""
    if downsample == 1:
        return plane
    size = plane.shape[1] // downsample, plane.shape[0] // downsample
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


def _page(look: SlideLook, number: int) -> dict[str, Any]:
    page: dict[str, Any] = {
        "tile": look.tile,
        "compression": look.compression,
        "photometric": "rgb",
        "subfiletype": int(number > 0),
        "metadata": None,
        "software": False,
        **(look.options or {}),
    }
    if look.mpp is not None:
        per_cm = 10_000 / look.mpp, 10_000 / (look.mpp_y or look.mpp)
        page |= {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    return page


_SCN: Final = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="u">
 <collection name="c" uuid="c" sizeX="{plane_x}" sizeY="{plane_y}" barcode="">
  <image name="i" uuid="i">
   <creationDate>2020-01-01T00:00:00Z</creationDate>
   <device model="Leica SCN400" version="1"/>
   <pixels sizeX="{width}" sizeY="{height}">
    <dimension sizeX="{width}" sizeY="{height}" r="0" ifd="0"/>
   </pixels>
   <view sizeX="{view_x}" sizeY="{view_y}" offsetX="{left}" offsetY="{top}" spacingZ="1"/>
   <scanSettings>
    <objectiveSettings><objective>20</objective></objectiveSettings>
    <illuminationSettings>
     <numericalAperture>0.4</numericalAperture>
     <illuminationSource>brightfield</illuminationSource>
    </illuminationSettings>
   </scanSettings>
  </image>
 </collection>
</scn>"""


def write_scn(path: Path, plane: Pixels, *, mpp: float, corner: tuple[int, int]) -> Path:
    """Write a Leica slide: a scanned part, `plane`, at a corner of a larger plane."""
    height, width = plane.shape[:2]
    nm = round(1000 * mpp)
    text = _SCN.format(
        plane_x=nm * (width + 2 * corner[0]), plane_y=nm * (height + 2 * corner[1]),
        width=width, height=height, view_x=nm * width, view_y=nm * height,
        left=nm * corner[0], top=nm * corner[1],
    )  # fmt: skip
    look = SlideLook(mpp=mpp, options={"description": text})
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(plane, **_page(look, 0))
    return path
