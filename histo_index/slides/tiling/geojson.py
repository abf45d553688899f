"""Tissue and tiles as GeoJSON that QuPath opens.

QuPath shows the scanned part of a slide and counts from its corner, so the bounds are subtracted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histo_index.arrays import Float64
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.tiling.grid import Grid
from histo_index.slides.tissue.mask import TissueMask
from histo_index.slides.tissue.outlines import outline


def origin(info: SlideInfo, *, crop: bool) -> tuple[int, int]:
    """Return the level-0 pixel that coordinates start from."""
    return (info.bounds.x, info.bounds.y) if crop else (0, 0)


def collection(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join features to one document."""
    return {"type": "FeatureCollection", "features": list(features)}


def tissue_features(mask: TissueMask, info: SlideInfo, *, crop: bool) -> list[dict[str, Any]]:
    """Return one annotation for each piece of tissue."""
    scale, bounds = info.require_scale(), info.bounds
    left, top = origin(info, crop=crop)
    factor = np.array([mask.mpp / scale.x, mask.mpp / scale.y])
    shift = np.array([bounds.x - left, bounds.y - top])
    return [
        _feature(
            "annotation",
            [_close(ring * factor + shift) for ring in polygon],
            classification={"name": "Tissue", "color": [0, 128, 0]},
        )
        for polygon in outline(mask.tissue)
    ]


def tile_features(
    grid: Grid, info: SlideInfo, measurements: Mapping[str, Float64], *, crop: bool
) -> list[dict[str, Any]]:
    """Return one object for each tile, with its measurements.

    Args:
        grid: T tiles.
        info: their slide.
        measurements: name to float64 [T].
        crop: subtract the bounds of the slide, as QuPath does.
    """
    left, top = origin(info, crop=crop)
    features = []
    for row, (x, y) in enumerate(
        zip((grid.x - left).tolist(), (grid.y - top).tolist(), strict=True)
    ):
        right, bottom = x + grid.width, y + grid.height
        ring = np.array([(x, y), (right, y), (right, bottom), (x, bottom)], float)
        values = {name: round(float(column[row]), 6) for name, column in measurements.items()}
        features.append(_feature("tile", [_close(ring)], measurements=values))
    return features


def _feature(kind: str, rings: list[list[list[float]]], **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": kind, **properties},
    }


def _close(ring: Float64) -> list[list[float]]:
    rounded: list[list[float]] = np.round(ring, 2).tolist()
    return [*rounded, rounded[0]]
