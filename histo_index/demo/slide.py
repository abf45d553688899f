"""Write a small slide from rendered tiles: a pyramid of two levels, tissue on glass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from PIL import Image

from histo_index.demo.tiles import MPP

# Tissue lies in this many columns and rows of tiles, inside one column and row of glass.
COLUMNS: Final = 3
ROWS: Final = 2
_GLASS: Final = (243, 242, 244)
_BLOCK_PX: Final = 256
_DOWNSAMPLE: Final = 4


def write_demo_slide(path: Path, tiles: Sequence[Path]) -> None:
    """Write a slide of COLUMNS times ROWS tiles on glass.

    Args:
        path: the slide, a TIFF.
        tiles: files of 256 × 256 pixels, row by row; the first ones are used.
    """
    shape = ((ROWS + 2) * _BLOCK_PX, (COLUMNS + 2) * _BLOCK_PX, 3)
    plane = np.full(shape, _GLASS, np.uint8)
    for number, tile in enumerate(tiles[: COLUMNS * ROWS]):
        row, column = divmod(number, COLUMNS)
        top, left = (row + 1) * _BLOCK_PX, (column + 1) * _BLOCK_PX
        with Image.open(tile) as image:
            plane[top : top + _BLOCK_PX, left : left + _BLOCK_PX] = np.asarray(image.convert("RGB"))
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(plane).reduce(_DOWNSAMPLE)
    with tifffile.TiffWriter(path) as writer:
        for level, pixels in enumerate((plane, np.asarray(small))):
            writer.write(
                pixels,
                tile=(_BLOCK_PX, _BLOCK_PX),
                compression="zlib",
                photometric="rgb",
                subfiletype=int(level > 0),
                resolution=(10_000 / MPP, 10_000 / MPP),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
            )
