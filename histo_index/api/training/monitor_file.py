"""Read the labelled pairs or tiles that measure every epoch."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.training.monitor import Monitor
from histo_index.errors import InputError
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.search.evaluation.training_monitor import PairMetrics, TileMetrics
from histo_index.search.inputs.pair_list import read_pair_list

if TYPE_CHECKING:
    pass


def read_monitor(path: Path, spec: Preprocessing, *, root: Path) -> Monitor:
    """Read labelled pairs, or labelled tiles if the file has no columns of a pair list.

    Paths are relative to the folder of the file, or else to that of the tiles.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    names, measure = _read_pairs(path) if _is_pair_list(path) else _read_labelled(path)
    folder = path.parent if (path.parent / names[0]).is_file() else root
    images = [fit_tile(read_tile(folder / name, DecodeLimits()).pixels, spec) for name in names]
    return Monitor(name=path.name, images=images, measure=measure)


def _read_pairs(path: Path) -> tuple[list[str], PairMetrics]:
    pairs = read_pair_list(path)
    if pairs.labels is None or pairs.labels.null_count or pairs.problems:
        raise InputError(f"{path}: every pair of a monitor needs a label, 1 same or 0 different")
    sides = pairs.image_a.to_pylist(), pairs.image_b.to_pylist()
    names = sorted({*sides[0], *sides[1]})
    rows = {name: row for row, name in enumerate(names)}
    left, right = (np.array([rows[name] for name in side], np.int64) for side in sides)
    is_same = np.asarray(pairs.labels.to_numpy(zero_copy_only=False)) == 1
    return names, PairMetrics(left, right, is_same)


def _read_labelled(path: Path) -> tuple[list[str], TileMetrics]:
    listed = list_tiles([path])
    if listed.rejected:
        first = listed.rejected[0]
        raise InputError(f"{path}: {first.path}: {first.reason}")
    if "label" not in listed.table.column_names:
        raise InputError(
            f"{path}: neither a column label nor the columns image_a and image_b of a pair list"
        )
    labels = [str(value) for value in listed.table["label"].to_pylist()]
    column = "group" if "group" in listed.table.column_names else "image_id"
    metrics = TileMetrics(labels, [str(value) for value in listed.table[column].to_pylist()])
    return listed.table["path"].to_pylist(), metrics


def _is_pair_list(path: Path) -> bool:
    from histo_index.indexer.inputs.tables import read_table

    return bool({"image_a", "query"} & set(read_table(path).column_names))
