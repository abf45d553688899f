"""Read the labelled pairs or tiles that measure every epoch."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.preprocessing import Preprocessing, fit_tile
from histo_index.encoder.training.monitor import Monitor
from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.search.evaluation.training_monitor import PairMetrics, TileMetrics
from histo_index.search.inputs.label_table import texts_of
from histo_index.search.inputs.labels import each_by_itself, is_missing
from histo_index.search.inputs.pair_list import read_pair_list


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
    is_labelled = [not is_missing(label) for label in texts_of(listed.table["label"])]
    table = listed.table.filter(pa.array(is_labelled, pa.bool_()))
    ids = texts_of(table["image_id"])
    groups = texts_of(table["group"]) if "group" in table.column_names else ids
    metrics = TileMetrics(texts_of(table["label"]), each_by_itself(groups, ids))
    return table["path"].to_pylist(), metrics


def _is_pair_list(path: Path) -> bool:
    return bool({"image_a", "query"} & set(read_table(path).column_names))
