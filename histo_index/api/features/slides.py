"""Find the slides that features are of: by name in a folder, with their scales."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from histo_index.errors import ImageError, InputError
from histo_index.features.slide_names import SlideNames
from histo_index.features.tiles import SlideFound
from histo_index.slides.tiling.find import find_slides
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class SlideFolder:
    """Slides by the names that features call them.

    Attributes:
        folder: which they lie in; None if the user named none.
        slides: their paths from it, by name.
        scales: microns per level-0 pixel that the user listed, by name.
    """

    folder: Path | None
    slides: SlideNames[str]
    scales: SlideNames[float]

    def find(self, name: str) -> SlideFound:
        """Find a slide, its scale only where the user listed it.

        Raises:
            InputError: there is none in the folder, or several, or several scales for it.
        """
        path = name
        if self.folder is not None:
            found = self.slides.find(name)
            if len(found) != 1:
                what = "no such slide" if not found else f"{len(found)} slides of that name"
                raise InputError(f"{what} in {self.folder}: {printable(name)}; pass its folder")
            path = found[0]
        given = self.scales.find(path)
        if len(given) > 1:
            raise InputError(f"--slide-mpp: {len(given)} scales for {printable(path)}")
        return SlideFound(path=path, mpp=given[0] if given else None, is_given=bool(given))


def open_folder(folder: Path | None, slide_mpp: Mapping[str, float]) -> SlideFolder:
    """List the slides of a folder.

    Args:
        folder: of the slides; None if there is none.
        slide_mpp: name of a slide, with or without suffix, to its scale.

    Raises:
        InputError: there is no such folder, or no slide in it.
    """
    paths = []
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; pass the folder of the slides")
        paths = [path.relative_to(folder).as_posix() for path in find_slides([folder])]
    return SlideFolder(
        folder=folder,
        slides=SlideNames((path, path) for path in paths),
        scales=SlideNames(slide_mpp.items()),
    )


def read_scales(
    folder: SlideFolder, slides: Iterable[SlideFound]
) -> dict[str, SlideFound | InputError]:
    """Read the scale of slides that have none: path to the slide, or why it cannot be used.

    Raises:
        InputError: the libraries for slides are not installed.
    """
    from histo_index.api.slides.open import describe

    asked = [slide for slide in slides if slide.mpp is None]
    if folder.folder is None or not asked:
        return {}
    paths = [folder.folder / slide.path for slide in asked]
    found: dict[str, SlideFound | InputError] = {}
    for slide, (name, info) in zip(asked, describe(paths), strict=True):
        try:
            if isinstance(info, ImageError):
                raise info
            found[slide.path] = replace(slide, mpp=info.require_scale().mean)
        except ImageError as error:
            found[slide.path] = InputError(str(error).removeprefix(f"{name}: "))
    return found
