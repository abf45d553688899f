"""Areas of the map: a table that says what the picture shows, for those who do not see it."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from histo_index.serve.maps.colours import NONE, OTHER, SCALE, Codes, Colouring
from histo_index.serve.maps.view import MapBox, MapView

_COLUMNS: Final = "ABCDEF"
_ROWS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Area:
    """A part of the map with tiles in it.

    Attributes:
        name: a letter from left to right and a number from top to bottom.
        box: its edges.
        tiles: how many tiles it has.
        commonest: the commonest value of the column that colours the map, or where its middle lies
            on the scale; empty if no tile has one.
        share: how many of its tiles have the commonest value, 0…1; None of a scale.
    """

    name: str
    box: MapBox
    tiles: int
    commonest: str
    share: float | None


def list_areas(view: MapView, box: MapBox, colouring: Colouring) -> list[Area]:
    """Divide a part of the map into areas, the fullest first; empty ones are left out."""
    inside = view.inside(box)
    places = view.points[inside].astype(np.float64)
    wide, high = (box.right - box.left) or 1.0, (box.top - box.bottom) or 1.0
    column = np.clip((places[:, 0] - box.left) / wide * len(_COLUMNS), 0, len(_COLUMNS) - 1)
    row = np.clip((box.top - places[:, 1]) / high * _ROWS, 0, _ROWS - 1)
    cells = row.astype(np.int64) * len(_COLUMNS) + column.astype(np.int64)
    found = []
    for cell in np.unique(cells):
        codes = colouring.codes[inside[cells == cell]]
        commonest, share = _describe(codes, colouring)
        found.append(
            Area(
                name=f"{_COLUMNS[cell % len(_COLUMNS)]}{cell // len(_COLUMNS) + 1}",
                box=_edges(places[cells == cell]), tiles=len(codes), commonest=commonest,
                share=share,
            )
        )  # fmt: skip
    return sorted(found, key=lambda area: (-area.tiles, area.name))


def _edges(places: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> MapBox:
    """Return the box around some tiles, a little wider: its text has six digits."""
    (left, bottom), (right, top) = places.min(axis=0), places.max(axis=0)
    spare = 1e-4 * max(right - left, top - bottom, 1.0)
    return MapBox(left=left - spare, bottom=bottom - spare, right=right + spare, top=top + spare)


def _describe(codes: Codes, colouring: Colouring) -> tuple[str, float | None]:
    known = codes[codes != NONE]
    if not len(known):
        return "", None
    if not colouring.categories:
        return f"{100 * float(np.median(known)) / SCALE:.0f} % of the scale", None
    counts = np.bincount(known)
    most = int(counts.argmax())
    value = "other values" if most == OTHER else colouring.categories[most].value
    return value, float(counts[most]) / len(codes)
