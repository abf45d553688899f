"""Whole slides: from slide files to tiles of a known scale.

`histo_index.slides` names the public functions; they are loaded at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histo_index.api.slides.heatmap import Heatmap as Heatmap
    from histo_index.api.slides.heatmap import heatmap as heatmap
    from histo_index.api.slides.inputs import TileInputs as TileInputs
    from histo_index.api.slides.open import Slide as Slide
    from histo_index.api.slides.open import open as open
    from histo_index.api.slides.tile import TileOutputs as TileOutputs
    from histo_index.api.slides.tile import TileReport as TileReport
    from histo_index.api.slides.tile import tile as tile
    from histo_index.slides.tiling.options import SlideSource as SlideSource
    from histo_index.slides.tiling.options import TileOptions as TileOptions

_HOMES = {
    "Heatmap": "api.slides.heatmap",
    "Slide": "api.slides.open",
    "SlideSource": "slides.tiling.options",
    "TileInputs": "api.slides.inputs",
    "TileOptions": "slides.tiling.options",
    "TileOutputs": "api.slides.tile",
    "TileReport": "api.slides.tile",
    "heatmap": "api.slides.heatmap",
    "open": "api.slides.open",
    "tile": "api.slides.tile",
}

__all__ = [
    "Heatmap",
    "Slide",
    "SlideSource",
    "TileInputs",
    "TileOptions",
    "TileOutputs",
    "TileReport",
    "heatmap",
    "open",
    "tile",
]


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"histo_index.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
