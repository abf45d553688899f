"""Open a file of features by its suffix and content."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from histo_index.errors import InputError
from histo_index.features.containers.part import Part

HDF5: Final = frozenset((".h5", ".hdf5", ".h5ad"))
ZARR: Final = ".zarr"
SUFFIXES: Final = HDF5 | {ZARR, ".npy", ".npz", ".parquet", ".pt"}
# Which library and extra a suffix needs.
EXTRAS: Final = {**dict.fromkeys(HDF5, ("h5py", "h5")), ZARR: ("zarr", "zarr")}


def open_parts(path: Path, stack: ExitStack) -> Iterator[Part]:
    """Open the parts of a file; they stay open as long as the stack.

    Raises:
        InputError: it cannot be used.
    """
    suffix = path.suffix.lower()
    # Imported here: a file needs the library of its layout only.
    if suffix in HDF5:
        from histo_index.features.containers.h5_tree import H5Tree, is_anndata
        from histo_index.features.containers.hdf5 import open_h5
        from histo_index.features.layouts.anndata_tables import open_h5ad
        from histo_index.features.layouts.patches import open_patches

        file = open_h5(path, stack)
        is_table = suffix == ".h5ad" or is_anndata(file)
        yield from open_h5ad(H5Tree(file), path) if is_table else open_patches(file, path)
    elif suffix == ZARR:
        from histo_index.features.layouts.spatialdata import open_spatialdata

        yield from open_spatialdata(path)
    elif suffix == ".npy":
        from histo_index.features.layouts.npy import open_npy

        yield from open_npy(path, stack)
    elif suffix == ".npz":
        from histo_index.features.layouts.slide2vec import open_npz

        yield from open_npz(path, stack)
    elif suffix == ".parquet":
        from histo_index.features.layouts.parquet_file import open_parquet

        yield from open_parquet(path, stack)
    elif suffix == ".pt":
        from histo_index.features.layouts.torch_file import open_pt

        yield from open_pt(path)
    else:
        raise InputError(f"{path}: expected one of {', '.join(sorted(SUFFIXES))}")
