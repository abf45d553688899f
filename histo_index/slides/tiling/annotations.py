"""Take the classes of tiles from QuPath annotations."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from histo_index.errors import ImageError
from histo_index.slides.reading.info import SlideInfo
from histo_index.slides.tiling.geojson import origin
from histo_index.slides.tiling.grid import Grid
from histo_index.slides.tissue.outlines import Ring, shares

# A tile is this many pixels wide on the picture that classes are drawn on, as far as it fits.
_TILE_PX: Final = 32
_LARGEST_PX: Final = 2**26
_MOST_OF_IT: Final = 0.5
# OpenCV draws corners on a grid of 1/16 pixel.
_SHIFT: Final = 4
_FARTHEST: Final = 2**30
_MOST_BYTES: Final = 2**30
# What damaged and foreign files raise.
_FAULTS: Final = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
    MemoryError, zlib.error,
)  # fmt: skip
_SUFFIXES: Final = (".geojson", ".geojson.gz", ".json", ".json.gz")


def find_annotations(folder: Path, slide: Path, *, inner: Path) -> Path | None:
    """Find the annotations of a slide: `slide.svs.geojson` or `slide.geojson`, maybe `.gz`.

    Args:
        folder: of the annotations.
        slide: the slide.
        inner: the slide with its folders, for slides of one name: looked for first.
    """
    stems = (inner, inner.with_suffix(""), slide.name, slide.stem)
    names = (f"{stem}{suffix}" for stem in stems for suffix in _SUFFIXES)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def label_tiles(path: Path, info: SlideInfo, grid: Grid, *, crop: bool) -> tuple[str | None, ...]:
    """Return the class that covers more than half of each tile, or None.

    Args:
        path: GeoJSON, `.gz` too.
        info: the slide.
        grid: T tiles.
        crop: coordinates start from the bounds of the slide, as QuPath writes them.

    Raises:
        ImageError: the file cannot be read.
    """
    polygons = read_annotations(path)
    bounds = info.bounds
    left, top = origin(info, crop=crop)
    step = max(grid.width / _TILE_PX, np.sqrt(bounds.width * bounds.height / _LARGEST_PX))
    size = int(np.ceil(bounds.height / step)), int(np.ceil(bounds.width / step))
    best, labels = np.full(len(grid.x), _MOST_OF_IT), np.full(len(grid.x), None, object)
    shift = np.array([left - bounds.x, top - bounds.y])
    for name, shapes in polygons.items():
        drawn = np.zeros(size, np.uint8)
        for rings in shapes:
            _draw(drawn, [(ring + shift) / step for ring in rings])
        columns, rows = (grid.x - bounds.x) / step, (grid.y - bounds.y) / step
        covered = shares(drawn > 0, columns, rows, grid.width / step)
        labels[covered > best] = name
        best = np.maximum(best, covered)
    return tuple(labels.tolist())


def read_annotations(path: Path) -> dict[str, list[list[Ring]]]:
    """Read annotations: class to polygons, each an outer ring and the rings of its holes.

    Objects without a class are left out.

    Raises:
        ImageError: the file cannot be read.
    """
    found: dict[str, list[list[Ring]]] = {}
    try:
        document = json.loads(_read(path))
        features = document if isinstance(document, list) else document["features"]
        for feature in features:
            if (name := _class_name(feature)) is not None:
                found.setdefault(name, []).extend(_polygons(feature["geometry"]))
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:120]
        raise ImageError(f"{path}: not usable GeoJSON ({reason}); export it again") from error
    return found


def _read(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes")
    return data


def _class_name(feature: Any) -> str | None:
    """Return the class of an object; QuPath joins the parts of a derived class by a colon."""
    described = (feature["properties"] or {}).get("classification") or {}
    parts = described.get("names") or [described.get("name")]
    return None if parts[0] is None else ": ".join(str(part) for part in parts)


def _polygons(geometry: Any) -> list[list[Ring]]:
    if geometry["type"] == "Polygon":
        shapes = [geometry["coordinates"]]
    elif geometry["type"] == "MultiPolygon":
        shapes = geometry["coordinates"]
    else:  # points and lines cover nothing
        return []
    return [[_ring(points) for points in rings] for rings in shapes]


def _ring(points: Any) -> Ring:
    ring = np.asarray(points, np.float64)[:, :2]
    if not np.isfinite(ring).all():
        raise ValueError("a corner is not finite")
    return ring


def _draw(picture: Any, rings: list[Ring]) -> None:
    """Fill a polygon, its holes left out."""
    # From pixel edges, as GeoJSON counts, to pixel centres, as OpenCV does.
    scaled = [np.round((ring - 0.5) * 2**_SHIFT) for ring in rings]
    points = [np.clip(ring, -_FARTHEST, _FARTHEST).astype(np.int32) for ring in scaled]
    cv2.fillPoly(picture, points, 1, shift=_SHIFT)  # even-odd: holes stay empty
