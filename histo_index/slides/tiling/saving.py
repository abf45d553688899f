"""Write the pixels of tiles as PNG files."""

from pathlib import Path

from PIL import Image

from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.reader import Pixels


def tile_file(tile: SlideTile) -> str:
    """Return the file name of a tile: `x=1024,y=2048,mpp=0.5,size=256.png`."""
    return f"{tile.position[1:]}.png"


def save_tile(pixels: Pixels, tile: SlideTile, folder: Path) -> None:
    """Write one tile below a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / tile_file(tile), compress_level=1)
