"""Write features exactly as TRIDENT, CLAM, AtlasPatch, slide2vec and LazySlide do.

Each follows the source that docs/features.md names: names of datasets, attributes, types, chunks.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

Array = npt.NDArray[Any]

SIZE_PX: Final = 256
# Level-0 pixels per pixel of a tile: 20x from a slide of 40x.
DOWNSAMPLE: Final = 2


@dataclass(frozen=True, kw_only=True)
class SlideFeatures:
    """Features of a slide, to be written.

    Attributes:
        name: of the slide, without suffix.
        features: float32 [N, D].
        places: int64 [N, 2], level-0 pixels.
        size_px: side of a tile, in its own pixels.
    """

    name: str
    features: Array
    places: Array
    size_px: int = SIZE_PX


def draw_slide(name: str, rows: int, size: int, *, seed: int = 0) -> SlideFeatures:
    """Draw features, and place their tiles in rows of ten."""
    numbers = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    at = np.arange(rows)
    places = np.stack([at % 10, at // 10], axis=1) * SIZE_PX * DOWNSAMPLE
    return SlideFeatures(name=name, features=numbers, places=places.astype(np.int64))


def write_trident(
    folder: Path, slide: SlideFeatures, *, encoder: str = "uni_v2", nested: bool = False
) -> Path:
    """Write `features_ENCODER/NAME.h5` of TRIDENT: chunks of a row, attributes at `coords`."""
    path = _new(folder / f"features_{encoder}" / f"{slide.name}.h5")
    features = slide.features[None] if nested else slide.features
    with h5py.File(path, "w") as file:
        _trident_dataset(file, "features", features, {"name": slide.name, "savetodir": "out"})
        _trident_dataset(file, "coords", slide.places, _trident_attributes(slide))
    return path


def write_trident_patches(folder: Path, slide: SlideFeatures) -> Path:
    """Write `patches/NAME_patches.h5` of TRIDENT: places alone."""
    path = _new(folder / "patches" / f"{slide.name}_patches.h5")
    with h5py.File(path, "w") as file:
        _trident_dataset(file, "coords", slide.places, _trident_attributes(slide))
    return path


def _trident_attributes(slide: SlideFeatures) -> dict[str, Any]:
    return {
        "patch_size": slide.size_px,
        "patch_size_level0": slide.size_px * DOWNSAMPLE,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": slide.name,
        "savetodir": "out",
        "level0_width": 100_000,
        "level0_height": 80_000,
    }


def _trident_dataset(file: Any, name: str, values: Array, attributes: Mapping[str, Any]) -> None:
    found = file.create_dataset(
        name, shape=values.shape, maxshape=(None, *values.shape[1:]),
        chunks=(1, *values.shape[1:]), dtype=values.dtype,
    )  # fmt: skip
    found[:] = values
    for key, value in attributes.items():
        found.attrs[key] = value


def write_clam(folder: Path, slide: SlideFeatures, *, tensor: bool = True) -> Path:
    """Write `patches/NAME.h5`, `h5_files/NAME.h5` and `pt_files/NAME.pt` of CLAM."""
    with h5py.File(_new(folder / "patches" / f"{slide.name}.h5"), "w") as file:
        found = _clam_dataset(file, "coords", slide.places)
        for name, value in {
            "patch_size": slide.size_px, "patch_level": 1,
            "downsample": (float(DOWNSAMPLE), float(DOWNSAMPLE)),
            "downsampled_level_dim": (50_000, 40_000), "level_dim": (50_000, 40_000),
            "name": slide.name, "save_path": "out/patches",
        }.items():  # fmt: skip
            found.attrs[name] = value
    path = _new(folder / "h5_files" / f"{slide.name}.h5")
    with h5py.File(path, "w") as file:
        _clam_dataset(file, "features", slide.features)
        _clam_dataset(file, "coords", slide.places.astype(np.int32))
    if tensor:
        write_tensor(folder / "pt_files" / f"{slide.name}.pt", slide.features)
    return path


def _clam_dataset(file: Any, name: str, values: Array) -> Any:
    found = file.create_dataset(
        name, shape=values.shape, maxshape=(None, *values.shape[1:]),
        chunks=(32, *values.shape[1:]), dtype=values.dtype,
    )  # fmt: skip
    found[:] = values
    return found


def write_tensor(path: Path, features: Array) -> Path:
    """Write a tensor as `torch.save` does."""
    import torch

    torch.save(torch.from_numpy(np.array(features)), _new(path))
    return path


def write_atlaspatch(
    folder: Path, slide: SlideFeatures, *, encoders: Sequence[str] = ("uni_v2",)
) -> Path:
    """Write `patches/NAME.h5` of AtlasPatch: `coords` N×5, `features/ENCODER`, file attributes."""
    path = _new(folder / "patches" / f"{slide.name}.h5")
    rows, level = len(slide.places), 1
    sides = np.full((rows, 1), slide.size_px)
    coords = np.hstack([slide.places, sides, sides, np.full((rows, 1), level)]).astype(np.int32)
    passports = [f"{slide.name}__x{x}_y{y}" for x, y in slide.places]
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=coords, maxshape=(None, 5), chunks=(64, 5))
        file.create_dataset("passports", data=np.array(passports, "S160"))
        for number, encoder in enumerate(encoders):
            file.require_group("features").create_dataset(
                encoder, data=np.roll(slide.features, number, axis=1),
                maxshape=(None, slide.features.shape[1]), chunks=(32, slide.features.shape[1]),
            )  # fmt: skip
        file.attrs.update(
            patch_size=slide.size_px, patch_size_level0=slide.size_px * DOWNSAMPLE,
            level0_magnification=40, target_magnification=20, overlap=0,
            level0_width=100_000, level0_height=80_000,
            wsi_path=f"{slide.name}.svs", passport_version=2, num_patches=rows,
            creation_date="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
    return path


def write_slide2vec(
    folder: Path, slide: SlideFeatures, *, encoder: str = "uni_v2", form: str = "npz"
) -> Path:
    """Write `tile_embeddings/NAME.npz` or `.pt`, `tiles/NAME.coordinates.npz`, and their JSON."""
    path = _new(folder / "tile_embeddings" / f"{slide.name}.{form}")
    if form == "npz":
        np.savez_compressed(path, features=slide.features)
    else:
        write_tensor(path, slide.features)
    _write_json(
        path.with_name(f"{slide.name}.meta.json"),
        sample_id=slide.name, artifact_type="tile_embeddings", format=form, encoder_name=encoder,
        encoder_level="tile", feature_dim=slide.features.shape[1],
        num_tiles=len(slide.features), requested_spacing_um=0.5,
        requested_tile_size_px=slide.size_px,
        tile_size_lv0=slide.size_px * DOWNSAMPLE, image_path=f"{slide.name}.svs",
    )  # fmt: skip
    tiles = _new(folder / "tiles" / f"{slide.name}.coordinates.npz")
    np.savez(
        tiles, x=slide.places[:, 0], y=slide.places[:, 1],
        tile_index=np.arange(len(slide.places), dtype=np.int32),
        tissue_fractions=np.ones(len(slide.places), np.float32),
    )  # fmt: skip
    _write_json(
        tiles.with_suffix(".meta.json"),
        provenance={"sample_id": slide.name, "backend": "openslide"},
        slide={"dimensions": [100_000, 80_000], "base_spacing_um": 0.25},
        tiling={
            "requested_tile_size_px": slide.size_px, "requested_spacing_um": 0.5,
            "effective_tile_size_px": slide.size_px, "effective_spacing_um": 0.5,
            "tile_size_lv0": slide.size_px * DOWNSAMPLE, "n_tiles": len(slide.places),
        },
        artifact={"coordinate_space": "level_0", "tile_order": "row_major"},
    )  # fmt: skip
    return path


def _write_json(path: Path, **document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True))


def write_lazyslide(
    folder: Path,
    slide: SlideFeatures,
    *,
    models: Sequence[str] = ("uni_v2",),
    zarr_format: Any = 3,
    with_places: bool = True,
) -> Path:
    """Write `NAME.zarr` of LazySlide: tables as AnnData, tiles as GeoParquet, `tile_spec`."""
    path = folder / f"{slide.name}.zarr"
    shutil.rmtree(path, ignore_errors=True)
    root = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    root.attrs["spatialdata_attrs"] = {"version": "0.2"}
    root.attrs["tile_spec"] = {
        "tiles": {
            "height": slide.size_px, "width": slide.size_px, "stride_height": slide.size_px,
            "stride_width": slide.size_px, "mpp": 0.5, "ops_level": 0, "ops_downsample": 2.0,
            "base_level": 0, "base_downsample": float(DOWNSAMPLE), "tissue_name": "tissues",
        }
    }  # fmt: skip
    tables = root.create_group("tables")
    ids = np.arange(len(slide.places))
    for number, model in enumerate(models):
        table = tables.create_group(f"{model}_tiles")
        table.attrs.update(
            {"encoding-type": "anndata", "encoding-version": "0.1.0", "region": "tiles",
             "region_key": "library_id", "instance_key": "tile_id", "version": "0.2"}
        )  # fmt: skip
        _zarr_array(table, "X", np.roll(slide.features, number, axis=1))
        obs = table.create_group("obs")
        obs.attrs.update(
            {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index",
             "column-order": ["tile_id", "library_id"]}
        )  # fmt: skip
        _zarr_array(obs, "tile_id", ids)
    shapes = root.create_group("shapes").create_group("tiles")
    shapes.attrs["encoding-type"] = "ngff:shapes"
    columns = {"tile_id": pa.array(ids), "tissue_id": pa.array(np.zeros(len(ids), np.int64))}
    if with_places:
        columns |= {name: pa.array(slide.places[:, at]) for at, name in enumerate("xy")}
    columns["geometry"] = pa.array(
        [_wkb_square(x, y, slide.size_px) for x, y in slide.places], pa.binary()
    )
    # Rows follow the tiles by their id, not by their order.
    order = np.random.default_rng(0).permutation(len(ids))
    pq.write_table(pa.table(columns).take(order), path / "shapes" / "tiles" / "shapes.parquet")
    return path


def _zarr_array(group: Any, name: str, values: Array) -> None:
    found = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(
        min(50, len(values)), *values.shape[1:]
    ))  # fmt: skip
    found[...] = values
    found.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _wkb_square(x: int, y: int, size_px: int) -> bytes:
    """Write a square as WKB: byte order, polygon, one ring of five points."""
    side = size_px * DOWNSAMPLE
    points = [(x + side, y), (x + side, y + side), (x, y + side), (x, y), (x + side, y)]
    head = np.array([1], "u1").tobytes() + np.array([3, 1, 5], "<u4").tobytes()
    return head + np.array(points, "<f8").tobytes()


def write_h5ad(path: Path, features: Array, table: pa.Table) -> Path:
    """Write AnnData with texts as categories, as `AnnData.write_h5ad` does; `image_id` is first."""
    with h5py.File(_new(path), "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        file.create_dataset("X", data=features).attrs.update(
            {"encoding-type": "array", "encoding-version": "0.2.0"}
        )
        obs = file.create_group("obs")
        names = table.column_names[1:]
        obs.attrs.update(
            {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
        )
        obs.attrs.create("column-order", np.array(names, object), dtype=h5py.string_dtype())
        ids = np.array(table.column(0).to_pylist(), object)
        obs.create_dataset("_index", data=ids, dtype=h5py.string_dtype())
        for name in names:
            coded = table[name].combine_chunks().dictionary_encode()
            inner = obs.create_group(name)
            inner.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0"})
            categories = np.array(coded.dictionary.to_pylist(), object)
            inner.create_dataset("categories", data=categories, dtype=h5py.string_dtype())
            codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int8)
            inner.create_dataset("codes", data=codes)
    return path


def write_npy(path: Path, features: Array, table: pa.Table) -> Path:
    """Write a matrix, and its ids and columns as CSV beside it."""
    np.save(_new(path), features)
    rows = [",".join(table.column_names)]
    rows += [",".join(str(value) for value in row.values()) for row in table.to_pylist()]
    path.with_suffix(".csv").write_text("\n".join(rows) + "\n")
    return path


def write_parquet(path: Path, features: Array, table: pa.Table) -> Path:
    """Write columns and a list column `embedding`."""
    lists = pa.array(list(features.astype(np.float32)), pa.list_(pa.float32()))
    pq.write_table(table.append_column("embedding", lists), _new(path))
    return path


def settle(folder: Path) -> None:
    """Make files as old as they are by the time of a later import."""
    for path in folder.rglob("*"):
        os.utime(path, (10**9, 10**9))


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
