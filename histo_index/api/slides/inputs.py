"""What the user knows about slides: scales, masks and annotations, found for each slide."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from histo_index.errors import InputError
from histo_index.slides.reading.reader import SlideFile
from histo_index.slides.tiling.cut import SlideRequest
from histo_index.slides.tiling.options import check_names, find_mpp

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TileInputs:
    """What the user knows about the slides.

    Attributes:
        slide_mpp: path, file name or stem of a slide to microns per level-0 pixel.
        masks: a folder of masks, `slide.png` or `slide.svs.png`; None to find the tissue.
        annotations: a folder of QuPath GeoJSON; None without.
    """

    slide_mpp: Mapping[str, float] = field(default_factory=dict)
    masks: Path | None = None
    annotations: Path | None = None


def list_requests(paths: Sequence[Path], inputs: TileInputs) -> list[SlideRequest]:
    """Find what the user knows about each slide.

    Logs a warning about scales that stand for no slide, or for several.

    Raises:
        InputError: a slide has no mask, or files stand for two slides.
    """
    requests = [_request(path, inputs) for path in paths]
    _require_own_files(requests)
    for line in check_names(paths, inputs.slide_mpp):
        _log.warning("%s", line)
    return requests


def _request(path: Path, inputs: TileInputs) -> SlideRequest:
    from histo_index.slides.tiling.annotations import find_annotations

    mask = None
    if inputs.masks is not None:
        names = (f"{inner(path)}.png", f"{path.name}.png", f"{path.stem}.png")
        mask = next(
            (inputs.masks / name for name in names if (inputs.masks / name).is_file()), None
        )
        if mask is None:
            raise InputError(
                f"{inputs.masks}: no mask for {path}; expected {path.name}.png or {path.stem}.png"
            )
    annotations = None
    if inputs.annotations is not None:
        if not inputs.annotations.is_dir():
            raise InputError(f"{inputs.annotations}: no such folder; pass one of QuPath GeoJSON")
        annotations = find_annotations(inputs.annotations, path, inner=inner(path))
    if inputs.annotations is not None and annotations is None:
        _log.warning("%s: no annotations for %s: its tiles have no label", inputs.annotations, path)
    return SlideRequest(
        file=SlideFile.of(path, find_mpp(path, inputs.slide_mpp)),
        mask=mask,
        annotations=annotations,
    )


def _require_own_files(requests: Sequence[SlideRequest]) -> None:
    """Check that no mask and no annotations stand for two slides of one name."""
    first: dict[Path, SlideRequest] = {}
    for request in requests:
        for path in filter(None, (request.mask, request.annotations)):
            if (other := first.setdefault(path, request)) is not request:
                raise InputError(
                    f"{path}: stands for two slides, {other} and {request}; put one for each below "
                    f"the folders of its slide, as {path.parent / inner(request.file.path)}"
                    f"{path.suffix}"
                )


def inner(path: Path) -> Path:
    """Return where a slide's outputs lie inside an output folder: as the slide was named."""
    parts = [part for part in path.parts if part not in (path.anchor, os.pardir)]
    return Path(*parts)
