"""Where tiles come from: folders, single files, or a manifest that lists them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from histo_index.errors import InputError
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.inputs.folders import list_folders
from histo_index.indexer.inputs.manifest_rows import list_manifest
from histo_index.indexer.inputs.tile_list import TileList
from histo_index.wording import counted

LIST_SUFFIXES: Final = frozenset((".csv", ".tsv", ".parquet"))


def list_tiles(
    sources: Sequence[Path],
    manifest: Path | None = None,
    *,
    base: Path | None = None,
    slides: bool = False,
) -> TileList:
    """List the tiles of a build.

    Args:
        sources: folders (searched through), image files, or one manifest. With `manifest`, at
            most one folder that the manifest's paths may be relative to.
        manifest: CSV, TSV or Parquet with a `path` column. Paths are relative to the source folder,
            to the manifest's own folder or to the working directory: where most files are found,
            the first of equals. `image_id`, if present, names the tiles; every other column is kept
            beside the embedding.
        base: the folder that paths started from when this was listed before; None to choose it.
        slides: list slides as rows, to be cut; they are rejected otherwise.

    Raises:
        InputError: a source is missing, or the manifest cannot be used as a whole.
    """
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    sources, manifest = split_manifest(sources, manifest)
    if manifest is not None:
        if len(sources) > 1 or not all(source.is_dir() for source in sources):
            raise InputError(
                f"with the manifest {manifest} pass at most one folder, which its paths start from"
            )
        own = [*([base] if base else []), *sources, manifest.parent, Path.cwd()]
        return list_manifest(manifest, bases=own)
    if not sources:
        raise InputError("no tiles given; pass a folder, image files or a manifest")
    return list_folders(sources, base, slides=slides)


def split_manifest(
    sources: Sequence[Path], manifest: Path | None
) -> tuple[Sequence[Path], Path | None]:
    """Treat a single table as the manifest."""
    if manifest is None and len(sources) == 1 and sources[0].suffix.lower() in LIST_SUFFIXES:
        return [], sources[0]
    return sources, manifest


def nothing_usable(
    inputs: Sequence[Path],
    rejected: Sequence[Rejection],
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Format why a build has no tiles, for an error message.

    Args:
        inputs: what was named.
        rejected: what cannot be used.
        left_out: reason to number of tiles that were removed before.
    """
    names = ", ".join(str(source) for source in inputs)
    if left_out:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in left_out.items())
        return (
            f"{names}: no tile is left, and nothing was changed: {reasons}; pass other tiles, or "
            "see `histo-index restore`"
        )
    if not rejected and inputs[-1].suffix.lower() in LIST_SUFFIXES:
        return f"{names}: lists no tiles; expected a row for each"
    if not rejected:
        return f"{names}: no images found; expected PNG, JPEG, TIFF, BMP or WebP files"
    first = rejected[0]
    return (
        f"{names}: none of {counted(len(rejected), 'image')} can be used, and nothing was changed; "
        f"the first: {first.path}: {first.reason}"
    )
