"""One state of the index, as clients see it."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from histo_index.api.answers.current_files import CurrentFiles
from histo_index.api.answers.pictures import tiles_folder
from histo_index.api.index import Index
from histo_index.api.scale.queries import QueryScales
from histo_index.search.inputs.resolve import Located
from histo_index.serve.config import ServeConfig
from histo_index.serve.safety.refusal import RefusalError, not_found
from histo_index.serve.safety.token import derive
from histo_index.serve.state.engine import Engine
from histo_index.serve.state.ids import OpaqueIds
from histo_index.serve.state.slide_list import IndexedSlide, list_slides
from histo_index.slides.reading.identity import parse_tile
from histo_index.slides.scale import ScaleCheck
from histo_index.wording import printable

if TYPE_CHECKING:
    from histo_index.cluster.searching.ray_search import Count, ShardedSearch

_SLIDE_CHANGED: Final = (
    "the slide of this tile is gone, or is not what was indexed; build the index again"
)
# What names a tile or its slide; shown and filtered by with `--names` only.
_NAMES: Final = ("image_id", "path", "slide_id", "file")
_MOST_SUGGESTED: Final = 200
# Columns that are not the user's.
_INNER: Final = ("stem", "sha256", "note")


class Snapshot:
    """A generation of the index with its calibration.

    Attributes:
        index: the index.
        engine: decodes and encodes for it.
        ids: what clients call its tiles.
        tag: changes with every generation and calibration.
        columns: those that clients may see and filter by.
        root: folder of the tile files.
        scales: compares the scale of images with that of the index.
    """

    def __init__(
        self, index: Index, engine: Engine, config: ServeConfig, *, key: bytes,
        parts: "ShardedSearch | None" = None,
    ) -> None:  # fmt: skip
        """Take an open index, and the parts that it is searched in."""
        self.index = index
        self._parts = parts
        self.engine = engine
        self.opened = index.opened
        self.ids = OpaqueIds(self.opened, key)
        calibration = index.threshold(is_decisive=False).calibration
        created = calibration.created if calibration else "none"
        self.tag = f"{self.opened.manifest.generation}-{created}"
        hidden = _INNER if config.shows_names else (*_INNER, *_NAMES)
        self.columns = tuple(name for name in self.opened.rows.column_names if name not in hidden)
        self.root = tiles_folder(self.opened, config.tiles)
        self._files = CurrentFiles(self.opened, self.root)
        self._slide_key = derive(config.token, "slides")
        self.scales = QueryScales(self.opened, mpp=None, any_mpp=config.any_mpp)

    def counting(self) -> "AbstractContextManager[Count | None]":
        """Count the parts of the index that answer inside the block; None if it has none.

        Elsewhere an answer that lacks parts is refused.
        """
        return nullcontext() if self._parts is None else self._parts.counting()

    def row_of(self, tile_id: str) -> int:
        """Return the row of a tile.

        Raises:
            RefusalError: there is no such tile.
        """
        row = self.ids.row_of(tile_id)
        if row is None:
            raise not_found()
        return row

    def compare_scale(self, image: Located) -> ScaleCheck:
        """Compare the scale of a tile or an upload with those of the index and calibration."""
        calibration = self.index.threshold(is_decisive=False).calibration
        if image.row is None:
            return self.scales.compare(image.um_per_px, calibration)
        return self.scales.compare_rows(np.array([image.row]), calibration)[0]

    def facts(self, row: int) -> dict[str, Any]:
        """Return the columns of a tile that clients may see, as plain values."""
        return self.visible(self.opened.row(row))

    def visible(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Select what clients may see of the columns of a tile, as plain values."""
        return {name: plain(columns[name]) for name in self.columns if name in columns}

    def picture(self, row: int, side_px: int | None) -> bytes:
        """Return the picture of a tile; see `Engine.show_tile`.

        Raises:
            RefusalError: its file or slide is gone, or is not what was indexed.
        """
        facts = self.opened.row(row)
        if parse_tile(facts["path"]) and not self._files.is_current(self.root / facts["path"]):
            self._files = CurrentFiles(self.opened, self.root)  # it may come back
            raise RefusalError(404, _SLIDE_CHANGED)
        return self.engine.show_tile(self.root / facts["path"], facts["sha256"], side_px)

    @cached_property
    def slides(self) -> dict[str, IndexedSlide]:
        """The slides by their opaque ids; empty for an index of tile files."""
        return list_slides(self.opened, self.root, self._slide_key)

    @cached_property
    def suggestions(self) -> dict[str, list[str]]:
        """The values of each text column with few of them, for forms."""
        return {name: self._values(name) for name in self.columns}

    def _values(self, column: str) -> list[str]:
        texts = self.opened.rows[column]
        if not pa.types.is_string(texts.type):
            return []
        known = [value for value in texts.unique().to_pylist() if value is not None]
        return sorted(known) if len(known) <= _MOST_SUGGESTED else []


def plain(value: Any) -> Any:
    """Turn a value of a column into one of JSON: no NaN, no line ends, dates as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {printable(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return printable(value)


def side_in_um(facts: Mapping[str, Any], default_mpp: float | None) -> float | None:
    """Return the longest side of a tile in µm; None if its scale is unknown."""
    mpp = facts.get("mpp") or default_mpp
    sides = [side for side in (facts.get("width"), facts.get("height")) if side]
    is_known = isinstance(mpp, int | float) and mpp > 0 and bool(sides)
    return float(mpp) * max(sides) if is_known and mpp else None
