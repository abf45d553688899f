"""Cut the slides of a build, in decoder processes; what was cut before is remembered."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.api.slides.open import slide_pool
from histo_index.errors import ImageError, InputError
from histo_index.indexer.format.shards import write_parquet
from histo_index.indexer.hashing.files import slide_marks
from histo_index.indexer.inputs.slides import CutSlides, SlideToCut
from histo_index.progress import track
from histo_index.slides.reading.identity import reading_version
from histo_index.slides.reading.reader import SlideFile, require_libraries
from histo_index.slides.tiling.options import TileOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from histo_index.encoder.decode.pool import DecodePool
    from histo_index.slides.tiling.cut import TiledSlide

_log = logging.getLogger(__name__)

# Below the index. A file is named by a digest and names no slide; nothing rests on it.
FOLDER: Final = "grids"


class SlideCutter:
    """Cuts slides; the tiles of a slide that is as it was are read from the index.

    Attributes:
        folder: where tiles are remembered.
    """

    def __init__(self, index: Path, *, cut: CutSlides | None = None) -> None:
        """Prepare for the slides of an index, which need not exist.

        Args:
            index: the index folder.
            cut: cuts slides that are new or changed; left out, decoder processes do.
        """
        self.folder = index / FOLDER
        self._cut = cut or cut_slides
        self._tables: dict[str, pa.Table] = {}

    def __call__(
        self, slides: Sequence[SlideToCut], options: TileOptions
    ) -> "Iterator[pa.Table | ImageError | None]":
        """Cut slides into tiles; see `CutSlides`.

        Raises:
            InputError: the libraries for slides are not installed.
        """
        require_libraries()
        keys = [_key(slide, options) for slide in slides]
        known = [self._read(key) for key in keys]
        fresh = [slide for slide, table in zip(slides, known, strict=True) if table is None]
        results = self._cut(fresh, options)
        for key, table in zip(keys, known, strict=True):
            found = next(results) if table is None else table
            if key is not None and found is not None and not isinstance(found, ImageError):
                self._tables[key] = found
            yield found

    def save(self) -> None:
        """Remember the tiles of this build, and forget those of others; failures are logged."""
        try:
            for key, table in self._tables.items():
                if not (path := self._path(key)).exists():
                    write_parquet(path, table, compression="ZSTD")
            for path in self.folder.glob("*.parquet"):
                if path.stem not in self._tables:
                    path.unlink()
        except OSError as error:
            _log.warning("%s: cannot be written (%s)", self.folder, error.strerror or error)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"

    def _read(self, key: str | None) -> "pa.Table | None":
        """Read remembered tiles; None if there are none, or they cannot be read."""
        from histo_index.indexer.inputs.tables import read_table

        if key is None or not self._path(key).exists():
            return None
        try:
            return read_table(self._path(key))
        except InputError:
            return None


def cut_slides(
    slides: Sequence[SlideToCut], options: TileOptions
) -> "Iterator[pa.Table | ImageError | None]":
    """Cut slides into tiles; see `CutSlides`."""
    from histo_index.slides.tiling.cut import SlideRequest
    from histo_index.slides.tiling.manifest import tile_table
    from histo_index.slides.tiling.work import NotASlide, TileWork

    requests = [
        SlideRequest(file=SlideFile.of(slide.path, slide.mpp), may_be_tile=slide.may_be_tile)
        for slide in slides
    ]
    pool: DecodePool[SlideRequest, TiledSlide | NotASlide]
    pool = slide_pool(TileWork(options=options), len(requests))
    with pool:
        results = pool.prepare(requests)
        tracked = track(results, "tiling", total=len(slides), unit="slides")
        for slide, found in zip(slides, tracked, strict=True):
            if isinstance(found, ImageError):
                yield found
            elif isinstance(found, NotASlide):
                yield None
            elif not len(found.grid.x):
                yield ImageError(f"{slide.path}: {found.problems[-1]}")
            else:
                for problem in found.problems:
                    _log.warning("%s: %s", slide.path, problem)
                yield tile_table(found, options, name="", slide_mpp=slide.mpp)


def _key(slide: SlideToCut, options: TileOptions) -> str | None:
    """Name what the tiles of a slide follow from; None for one that is out of reach."""
    try:
        marks = slide_marks(slide.path)
    except OSError:
        return None
    facts = [marks, slide.mpp, reading_version(), asdict(options)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
