"""Files of features that mean harm, or are damaged: each by name, with why it is refused."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from tests.features.writers import draw_slide, write_lazyslide, write_trident

SLIDE: Final = draw_slide("s", 8, 4)
LINK: Final = "a link to elsewhere is not followed"
ELSEWHERE: Final = "its numbers lie in other files, which are not read"
BOMB: Final = "the file is damaged, hostile or not yet filled"


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def write_hostile(folder: Path, marker: Path) -> dict[Path, str]:
    """Write one of each: path to a part of the reason.

    Args:
        folder: a new folder.
        marker: a folder that is made if code of a file is run.
    """
    folder.mkdir()
    return {
        **_links(folder),
        **_hdf5(folder),
        **_zarr(folder, marker),
        **_numpy(folder, marker),
        **_others(folder),
    }


def _links(folder: Path) -> dict[Path, str]:
    secret = write_trident(folder / "secret", SLIDE)
    found = {}
    for name, link in {
        "external": h5py.ExternalLink(str(secret), "features"),
        "soft": h5py.SoftLink("/elsewhere"),
    }.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["features"] = link
            file["elsewhere"] = np.ones((2, 4), np.float32)
        found[folder / f"{name}.h5"] = f"features: {LINK}"
    with h5py.File(folder / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 4), np.float32)
        layout[:] = h5py.VirtualSource(str(secret), "features", shape=(8, 4))
        file.create_virtual_dataset("features", layout)
    (folder / "raw.bin").write_bytes(bytes(128))
    with h5py.File(folder / "raw.h5", "w") as file:
        raw = [(str(folder / "raw.bin"), 0, 128)]
        file.create_dataset("features", (8, 4), np.float32, external=raw)
    return found | {folder / "virtual.h5": ELSEWHERE, folder / "raw.h5": ELSEWHERE}


def _hdf5(folder: Path) -> dict[Path, str]:
    plugin, bomb = folder / "plugin.h5", folder / "bomb.h5"
    with h5py.File(plugin, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((8, 4))
        plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((8, 4))
        h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, plist)
    with h5py.File(bomb, "w") as file:
        # Never written: it holds nothing but its shape.
        file.create_dataset("features", (10**9, 1024), np.float32, chunks=(64, 1024))
    whole = write_trident(folder / "whole", SLIDE).read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "text.h5").write_text("no HDF5")
    (folder / "empty.h5").write_bytes(b"")
    with h5py.File(folder / "texts.h5", "w") as file:
        file.create_dataset("features", data=np.array([["a"]], object), dtype=h5py.string_dtype())
    with h5py.File(folder / "slide.h5", "w") as file:
        file["features"] = np.ones(768, np.float32)
    with h5py.File(folder / "nothing.h5", "w") as file:
        file["other"] = [1]
    with h5py.File(folder / "sparse.h5ad", "w") as file:
        file.attrs["encoding-type"] = "anndata"
        file.create_group("X").attrs["encoding-type"] = "csr_matrix"
    return {
        plugin: "packed by HDF5 filter 32001, a plugin, which is not loaded",
        bomb: BOMB,
        folder / "cut.h5": "not a whole HDF5 file",
        folder / "text.h5": "not a whole HDF5 file",
        folder / "empty.h5": "not a whole HDF5 file",
        folder / "texts.h5": "features: holds object; expected numbers",
        folder / "slide.h5": "one vector of 768 for a whole slide; pass tile features",
        folder / "nothing.h5": "no `features` and no `coords`; found other",
        folder / "sparse.h5ad": "X is csr_matrix; expected dense",
    }


def _zarr(folder: Path, marker: Path) -> dict[Path, str]:
    pickled = write_lazyslide(folder / "pickled", SLIDE, zarr_format=2)
    document = json.loads((pickled / "tables/uni_v2_tiles/X/.zarray").read_text())
    document |= {"dtype": "|O", "filters": [{"id": "pickle"}]}
    (pickled / "tables/uni_v2_tiles/X/.zarray").write_text(json.dumps(document))
    linked = write_lazyslide(folder / "linked", SLIDE)
    place = linked / "tables/uni_v2_tiles/X"
    place.rename(folder / "moved")
    place.symlink_to(folder / "moved", target_is_directory=True)
    climbing = write_lazyslide(folder / "climbing", SLIDE)
    table = zarr.open_group(climbing / "tables/uni_v2_tiles", mode="a")
    table.attrs["region"] = "../../../../../climbing"
    bomb = write_lazyslide(folder / "bomb", SLIDE)
    path = bomb / "tables/uni_v2_tiles/X/zarr.json"
    document = json.loads(path.read_text())
    document["shape"] = [10**9, 1024]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [10**6, 1024]
    path.write_text(json.dumps(document))
    (folder / "none.zarr").mkdir()
    return {
        pickled: "packed by the codec pickle, which is not run",
        linked: LINK,
        climbing: "leads out of the store",
        bomb: "chunks of 4,096,000,000 bytes, the limit is",
        folder / "none.zarr": "no table of tile features; expected tables/MODEL_tiles",
    }


def _numpy(folder: Path, marker: Path) -> dict[Path, str]:
    np.save(folder / "objects.npy", np.array([[Trap(marker)]], object), allow_pickle=True)
    np.save(folder / "fortran.npy", np.asfortranarray(SLIDE.features))
    np.save(folder / "no_ids.npy", SLIDE.features)
    np.save(folder / "short.npy", SLIDE.features)
    (folder / "short.txt").write_text("a\nb\n")
    np.save(folder / "cut.npy", SLIDE.features)
    data = (folder / "cut.npy").read_bytes()
    (folder / "cut.npy").write_bytes(data[:-7])
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", bytes(10**8))
    np.savez(folder / "other.npz", weights=np.ones(3))
    return {
        folder / "objects.npy": "it holds Python objects, which are not read",
        folder / "fortran.npy": "it is in Fortran order; save np.ascontiguousarray of it",
        folder / "no_ids.npy": "no ids; put a table beside it, no_ids.csv",
        folder / "short.npy": "8 rows, but short.txt has 2 ids",
        folder / "cut.npy": "cut off: 249 bytes, expected 256",
        folder / "bomb.npz": BOMB,
        folder / "other.npz": "no array `features`; expected the .npz of slide2vec",
    }


def _others(folder: Path) -> dict[Path, str]:
    numbers = pa.array([[1.0, 2.0, 3.0, 4.0], [5.0]])
    pq.write_table(pa.table({"image_id": ["a", "b"], "embedding": numbers}), folder / "odd.parquet")
    pq.write_table(pa.table({"embedding": numbers}), folder / "nameless.parquet")
    pq.write_table(pa.table({"image_id": ["a"]}), folder / "none.parquet")
    (folder / "text.parquet").write_text("no Parquet")
    return {
        folder / "odd.parquet": "a row from 0 on has not 4 numbers",
        folder / "nameless.parquet": "no column `image_id`",
        folder / "none.parquet": "no column `embedding` with lists of numbers; found image_id",
        folder / "text.parquet": "not a whole Parquet file",
    }


def write_inflating(path: Path, megabytes: int) -> Path:
    """Write a chunk of 1 KB by its description, that unpacks to very much more."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()
    with h5py.File(path, "w") as file:
        found = file.create_dataset(
            "features", (64, 4), np.float32, chunks=(64, 4), compression="gzip"
        )
        found.id.write_direct_chunk((0, 0), data)
    return path
