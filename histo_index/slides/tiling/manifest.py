"""The table of the tiles of slides: one row each, no pixels."""

import numpy as np
import pyarrow as pa

from histo_index.slides.tiling.cut import TiledSlide, list_tiles
from histo_index.slides.tiling.options import TileOptions
from histo_index.slides.tiling.saving import tile_file


def tile_table(
    tiled: TiledSlide,
    options: TileOptions,
    *,
    name: str,
    slide_mpp: float | None = None,
    saved: str | None = None,
) -> pa.Table:
    """Return a row for each tile of a slide, in reading order.

    Args:
        tiled: the slide.
        options: how it was cut.
        name: path of the slide, as the rows name it.
        slide_mpp: microns per level-0 pixel, where the user gave them.
        saved: the folder of the saved tiles, as the rows name it; None if none were saved.

    Returns:
        `path`, `slide_id`, `x`, `y`, `mpp`, `size`, `read_mpp`, `tissue`, `pen`, `reader`, and
        where there are such `sharpness`, `label` and `file`.
    """
    tiles = list_tiles(tiled, options, slide=name, slide_mpp=slide_mpp)
    count = len(tiles)
    columns: dict[str, pa.Array] = {
        "path": pa.array([str(tile) for tile in tiles], pa.string()),
        "slide_id": pa.array([name] * count, pa.string()),
        "x": pa.array(tiled.grid.x, pa.int64()),
        "y": pa.array(tiled.grid.y, pa.int64()),
        "mpp": pa.array([options.mpp] * count, pa.float64()),
        "size": pa.array([options.tile_size] * count, pa.int32()),
        "read_mpp": pa.array([tiled.read_mpp] * count, pa.float64()),
        "tissue": pa.array(np.round(tiled.tissue, 4), pa.float64()),
        "pen": pa.array(np.round(tiled.pen, 4), pa.float64()),
        "reader": pa.array([tiled.info.reader] * count, pa.string()),
    }
    if tiled.sharpness is not None:
        columns["sharpness"] = pa.array(
            np.round(tiled.sharpness, 3), pa.float64(), from_pandas=True
        )
    if tiled.labels is not None:
        columns["label"] = pa.array(tiled.labels, pa.string())
    if saved is not None:
        files = [f"{saved}/{tile_file(tile)}" for tile in tiles]
        columns["file"] = pa.array(files, pa.string())
    return pa.table(columns)
