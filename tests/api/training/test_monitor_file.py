"""Labelled tiles and pairs that measure a training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.api.training.monitor_file import read_monitor
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.errors import InputError


def write(folder: Path, rows: list[str]) -> Path:
    for row in rows:
        Image.new("RGB", (32, 32)).save(folder / row.split(",")[0])
    path = folder / "labels.csv"
    path.write_text("\n".join(["path,label,group", *rows]) + "\n")
    return path


def test_tiles_without_a_label_are_of_no_class(tmp_path: Path) -> None:
    rows = ["a.png,fat,", "b.png,fat,", "c.png,,1", "d.png,gland,2", "e.png,gland,3", "f.png,na,4"]
    spec = Preprocessing(resize_px=32, crop_px=32)
    monitor = read_monitor(write(tmp_path, rows), spec, root=tmp_path)
    assert len(monitor.images) == 4
    embeddings = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    metrics, _ = monitor.measure(embeddings)
    # Two tiles without a group are of two groups.
    assert (metrics.figures()["pair_auc"], metrics.figures()["neighbour_accuracy"]) == (1.0, 1.0)


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ["a.png,fat,1", "b.png,fat,2", "c.png,,3"])
    with pytest.raises(InputError, match="pairs across groups are all same"):
        read_monitor(path, Preprocessing(resize_px=32, crop_px=32), root=tmp_path)
