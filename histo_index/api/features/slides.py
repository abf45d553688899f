"""Find the slides that features are of: by name in a folder, with their scales."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from histo_index.errors import ImageError, InputError
from histo_index.features.tiles import SlideFound
from histo_index.slides.tiling.find import find_slides
from histo_index.slides.tiling.options import find_mpp
from histo_index.wording import printable

# Tools leave this out of a slide's name too.
_SECOND: Final = ".ome"


@dataclass(frozen=True, kw_only=True)
class SlideFolder:
    """Slides by the names that features call them.

    Attributes:
        folder: which they lie in; None if the user named none.
        by_name: stem or file name to the slides called so.
        slide_mpp: scales that the user listed; see `find_mpp`.
    """

    folder: Path | None
    by_name: Mapping[str, list[Path]] = field(default_factory=dict)
    slide_mpp: Mapping[str, float] = field(default_factory=dict)

    def find(self, name: str) -> SlideFound:
        """Find a slide, its scale only where the user listed it.

        Raises:
            InputError: there is none in the folder, or several.
        """
        given = find_mpp(Path(name), self.slide_mpp)
        if self.folder is None:
            return SlideFound(path=name, mpp=given, is_given=given is not None)
        found = self.by_name.get(name, [])
        if len(found) != 1:
            what = "no such slide" if not found else f"{len(found)} slides of that name"
            raise InputError(f"{what} in {self.folder}: {printable(name)}; pass its folder")
        given = given or find_mpp(found[0], self.slide_mpp)
        path = found[0].relative_to(self.folder).as_posix()
        return SlideFound(path=path, mpp=given, is_given=given is not None)


def open_folder(folder: Path | None, slide_mpp: Mapping[str, float]) -> SlideFolder:
    """List the slides of a folder.

    Raises:
        InputError: there is no such folder, or no slide in it.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; pass the folder of the slides")
        for path in find_slides([folder]):
            for name in {path.name, *_stems(path)}:
                by_name[name].append(path)
    # Features name slides without suffix, tables with or without.
    stems = {stem: mpp for name, mpp in slide_mpp.items() for stem in _stems(Path(name))}
    return SlideFolder(folder=folder, by_name=by_name, slide_mpp={**stems, **slide_mpp})


def _stems(path: Path) -> tuple[str, str]:
    return path.stem, path.stem.removesuffix(_SECOND)


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
