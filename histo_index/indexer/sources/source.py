"""A source of tiles: what one `build` named, in the forms in which it is opened and kept."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.format.records import SourceRecord
from histo_index.slides.tiling.options import SlideSource


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source with paths that can be opened; `SourceRecord` is its form on disk.

    Attributes:
        paths: folders and image files.
        manifest: the table that lists the tiles; None if there is none.
        base: the folder that image ids start from; None until it is listed.
        prefix: what image ids begin with; None until it is listed.
        columns: metadata columns of the manifest when it was last read.
        slides: how slides are cut; None if slides are no tiles.
        has_new_manifest: the user names another manifest than the one before.
    """

    paths: tuple[Path, ...]
    manifest: Path | None
    base: Path | None = None
    prefix: str | None = None
    columns: tuple[str, ...] = ()
    slides: SlideSource | None = None
    has_new_manifest: bool = False

    @classmethod
    def from_record(cls, record: SourceRecord, folder: Path) -> "Source":
        """Locate a remembered source from the index folder."""
        return cls(
            paths=tuple(locate(path, folder) for path in record.paths),
            manifest=None if record.manifest is None else locate(record.manifest, folder),
            base=locate(record.base, folder),
            prefix=record.prefix,
            columns=record.columns,
            slides=record.slides,
        )

    def to_record(self, folder: Path) -> SourceRecord:
        """Describe the source relative to the index folder."""
        assert self.base is not None
        assert self.prefix is not None
        return SourceRecord(
            paths=tuple(relate(path, folder) for path in self.paths),
            manifest=None if self.manifest is None else relate(self.manifest, folder),
            base=relate(self.base, folder),
            prefix=self.prefix,
            columns=self.columns,
            slides=self.slides,
        )

    @property
    def aliases(self) -> set[Path]:
        """Every path under which a user may name this source again."""
        named = {path.resolve() for path in self.paths}
        if self.manifest is not None:
            named.add(self.manifest.resolve())
            if not self.paths and self.base is not None:
                named.add(self.base.resolve())
        return named

    def __str__(self) -> str:
        named = [*self.paths, *([self.manifest] if self.manifest else [])]
        return ", ".join(str(path) for path in named[:3]) + (", …" if len(named) > 3 else "")


@dataclass(frozen=True, kw_only=True)
class StoredTiles:
    """The tiles of the committed generation, without those that were removed.

    Attributes:
        root: the folder that their paths start from.
        table: `image_id`, `path`, `sha256` and the user's columns.
    """

    root: Path
    table: pa.Table

    def below(self, path: Path) -> pa.Table:
        """Select the tiles at or below a path."""
        return self.table.filter(is_below(self.table["path"], path, self.root))


def is_below(paths: pa.ChunkedArray, top: Path, root: Path) -> pa.ChunkedArray:
    """Check which paths, relative to a root, are at or below a file or folder: bool [N]."""
    start = os.path.relpath(top.resolve(), root)
    if start == os.curdir:
        return pc.is_valid(paths)
    is_part = pc.or_(pc.starts_with(paths, start + "/"), pc.starts_with(paths, start + "#x="))
    return pc.or_(pc.equal(paths, start), is_part)


def locate(path: str, folder: Path) -> Path:
    """Turn a remembered path into one from here, as short as the user would write it."""
    found = Path(os.path.normpath(folder.resolve() / path))
    here = Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def relate(path: Path, folder: Path) -> str:
    """Write a path from the index folder, so that both can move."""
    try:
        found = os.path.relpath(path, folder.resolve())
    except ValueError:  # another drive, on Windows
        found = os.path.abspath(path)
    return Path(found).as_posix()
