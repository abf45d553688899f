"""Cut slides into tiles: a manifest without pixels, previews, GeoJSON, saved tiles."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.api.slides.inputs import TileInputs, inner, list_requests
from histo_index.api.slides.open import slide_pool
from histo_index.errors import ImageError, InputError
from histo_index.progress import track
from histo_index.slides.reading.reader import require_libraries
from histo_index.slides.tiling.find import find_slides
from histo_index.slides.tiling.options import TileOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from histo_index.encoder.decode.pool import DecodePool
    from histo_index.slides.tiling.cut import SlideRequest, TiledSlide


@dataclass(frozen=True, kw_only=True)
class TileOutputs:
    """What `tile` writes besides the manifest.

    Attributes:
        preview: a folder for a picture of each slide.
        geojson: a folder for tissue and tiles of each slide, for QuPath.
        save_tiles: a folder for the pixels of the tiles.
        crop: GeoJSON counts from the scanned part of a slide, as QuPath does; read and written so.
        overwrite: whether existing ones may be replaced.
    """

    preview: Path | None = None
    geojson: Path | None = None
    save_tiles: Path | None = None
    crop: bool = True
    overwrite: bool = True

    def preview_file(self, slide: Path) -> Path | None:
        """Return where the picture of a slide lies; None without pictures."""
        return None if self.preview is None else self.preview / f"{inner(slide)}.png"

    def geojson_file(self, slide: Path) -> Path | None:
        """Return where tissue and tiles of a slide lie; None if they are not written."""
        return None if self.geojson is None else self.geojson / f"{inner(slide)}.geojson"

    def tiles_folder(self, slide: Path) -> Path | None:
        """Return where the pixels of the tiles of a slide lie; None if they are not written."""
        return None if self.save_tiles is None else self.save_tiles / inner(slide)

    def require_new(self, slides: Sequence[Path]) -> None:
        """Check that nothing exists, unless it may be replaced.

        Raises:
            InputError: something of one of the slides exists.
        """
        if self.overwrite:
            return
        places = (self.preview_file, self.geojson_file, self.tiles_folder)
        for path in (place(slide) for slide in slides for place in places):
            if path is not None and path.exists():
                raise InputError(f"{path} exists already; pass --overwrite to replace it")


@dataclass(frozen=True, kw_only=True)
class CutSlide:
    """A slide that was cut.

    Attributes:
        slide: its path.
        tiles: how many.
        tissue_mm2: area of the tissue in mm².
        read_mpp: microns per pixel at which it was read.
        problems: what to look at, a line each.
    """

    slide: str
    tiles: int
    tissue_mm2: float
    read_mpp: float
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TileReport:
    """What `tile` did.

    Attributes:
        manifest: the table.
        slides: the slides that were cut.
        rejected: slide to the reason why it cannot be used.
    """

    manifest: Path
    slides: tuple[CutSlide, ...]
    rejected: dict[str, str]

    @property
    def tiles(self) -> int:
        """The number of tiles."""
        return sum(slide.tiles for slide in self.slides)


def tile(
    slides: str | Path | Sequence[str | Path],
    output: str | Path,
    options: TileOptions,
    *,
    inputs: TileInputs | None = None,
    outputs: TileOutputs | None = None,
) -> TileReport:
    """Cut slides into tiles and write a manifest.

    Args:
        slides: slide files, and folders that are searched.
        output: the manifest, a Parquet file, which `build` accepts.
        options: scale and size of the tiles, and how tissue is found.
        inputs: scales, masks and annotations of the slides.
        outputs: what to write besides.

    Raises:
        InputError: an argument, or every slide, is unusable; or an output exists.
        OSError: the disk is full or not writable.
    """
    require_libraries()
    named = [slides] if isinstance(slides, str | Path) else slides
    paths = find_slides([Path(path) for path in named])
    given, wanted = inputs or TileInputs(), outputs or TileOutputs()
    wanted.require_new(paths)
    manifest = Path(output)
    tables, cut, rejected = [], [], {}
    results = _tile_each(paths, options, given, wanted)
    for request, tiled in track(results, "tiling", total=len(paths), unit="slides"):
        name = str(request)
        if isinstance(tiled, ImageError):
            rejected[name] = str(tiled).removeprefix(f"{name}: ")
        else:
            tables.append(_write_slide(request, tiled, options, wanted, manifest.parent))
            cut.append(_describe(name, tiled))
    if not tables:
        raise InputError(_nothing_usable(rejected))
    _write_manifest(tables, manifest)
    return TileReport(manifest=manifest, slides=tuple(cut), rejected=rejected)


def _tile_each(
    paths: Sequence[Path], options: TileOptions, inputs: TileInputs, outputs: TileOutputs
) -> "Iterator[tuple[SlideRequest, TiledSlide | ImageError]]":
    from histo_index.slides.tiling.work import NotASlide, TileWork

    requests = [
        replace(
            request,
            is_cropped=outputs.crop,
            save=outputs.tiles_folder(request.file.path),
            preview=outputs.preview is not None,
        )
        for request in list_requests(paths, inputs)
    ]
    pool: DecodePool[SlideRequest, TiledSlide | NotASlide]
    pool = slide_pool(TileWork(options=options), len(requests))
    with pool:
        for request, tiled in zip(requests, pool.prepare(requests), strict=True):
            assert not isinstance(tiled, NotASlide)
            yield request, tiled


def _write_slide(
    request: "SlideRequest",
    tiled: "TiledSlide",
    options: TileOptions,
    outputs: TileOutputs,
    folder: Path,
) -> "pa.Table":
    """Write the preview and the GeoJSON of a slide; return its rows of the manifest."""
    from histo_index.slides.tiling.manifest import tile_table

    path = request.file.path
    if (preview := outputs.preview_file(path)) is not None:
        _write_preview(tiled, preview)
    if (geojson := outputs.geojson_file(path)) is not None:
        _write_geojson(tiled, geojson, crop=outputs.crop)
    saved = None if request.save is None else _from(request.save, folder)
    return tile_table(
        tiled, options, name=_from(path, folder), slide_mpp=request.file.mpp, saved=saved
    )


def _write_preview(tiled: "TiledSlide", path: Path) -> None:
    from PIL import Image

    from histo_index.files import publishing
    from histo_index.slides.tiling.preview import draw_preview

    with publishing(path) as temporary:
        Image.fromarray(draw_preview(tiled)).save(temporary, format="PNG")


def _write_geojson(tiled: "TiledSlide", path: Path, *, crop: bool) -> None:
    from histo_index.files import publish_bytes
    from histo_index.slides.tiling.geojson import collection, tile_features, tissue_features

    measured = {"tissue": tiled.tissue, "pen": tiled.pen}
    if tiled.sharpness is not None:
        measured["sharpness"] = tiled.sharpness
    features = [
        *tissue_features(tiled.mask, tiled.info, crop=crop),
        *tile_features(tiled.grid, tiled.info, measured, crop=crop),
    ]
    publish_bytes(path, json.dumps(collection(features)).encode())


def _write_manifest(tables: "Sequence[pa.Table]", path: Path) -> None:
    import pyarrow as pa

    from histo_index.indexer.format.shards import write_parquet

    write_parquet(path, pa.concat_tables(tables, promote_options="default"), compression="ZSTD")


def _describe(name: str, tiled: "TiledSlide") -> CutSlide:
    return CutSlide(
        slide=name,
        tiles=len(tiled.grid.x),
        tissue_mm2=round(float(tiled.mask.tissue.sum()) * tiled.mask.mpp**2 / 1e6, 2),
        read_mpp=round(tiled.read_mpp, 6),
        problems=tuple(tiled.problems),
    )


def _nothing_usable(rejected: Mapping[str, str]) -> str:
    first, reason = next(iter(rejected.items()))
    if len(rejected) == 1:
        return f"{first}: {reason}"
    return f"none of {len(rejected):,} slides can be used; the first: {first}: {reason}"


def _from(path: Path, folder: Path) -> str:
    """Return a path relative to the manifest's folder where it lies below it, else as named."""
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return (whole.relative_to(base) if whole.is_relative_to(base) else path).as_posix()
