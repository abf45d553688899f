"""Describe slides for people and programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_index.api.slides.open import describe
from histo_index.errors import ImageError, InputError
from histo_index.slides.reading.info import REMEDY, SlideInfo


def list_facts(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Describe slides, in order; one that cannot be read has an `error`.

    Raises:
        InputError: the libraries for slides are not installed, or there is no such file.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    return [
        {"slide": name, "error": str(found).removeprefix(f"{name}: ")}
        if isinstance(found, ImageError)
        else slide_facts(found)
        for name, found in describe(paths)
    ]


def slide_facts(info: SlideInfo) -> dict[str, Any]:
    """Describe a slide."""
    scale, bounds = info.scale, info.bounds
    return {
        "slide": info.path,
        "reader": info.reader,
        "vendor": info.vendor,
        "size_px": [info.width, info.height],
        "mpp": None if scale is None else [scale.x, scale.y],
        "mpp_from": None if scale is None else scale.origin,
        "levels": [
            {
                "size_px": [level.width, level.height],
                "downsample": level.downsample,
                "mpp": None if scale is None else scale.mean * level.downsample,
            }
            for level in info.levels
        ],
        "bounds": [bounds.x, bounds.y, bounds.width, bounds.height],
        "associated": list(info.associated),
        "problems": [
            f"{line}; {REMEDY}" if line.startswith("no scale") else line for line in info.problems
        ],
    }
