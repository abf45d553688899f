"""Queries come in any form that Python users have, and results leave as tables."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

import histo_index
from histo_index.demo.tiles import write_tiles
from histo_index.errors import ImageError, InputError
from tests.small_encoder import write_small_encoder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> histo_index.Index:
    folder = tmp_path_factory.mktemp("inputs")
    labels = write_tiles(folder / "tiles", tiles_per_category=2, slides=2, size_px=64)
    encoder = write_small_encoder(folder / "encoder")
    histo_index.build(folder / "tiles", folder / "i.hx", encoder=encoder, manifest=labels)
    return histo_index.open(folder / "i.hx")


@pytest.fixture(scope="module")
def names(index: histo_index.Index) -> list[str]:
    return list(index)[:3]


def ids_of(found: Any) -> list[list[str]]:
    return [[neighbour.image_id for neighbour in near] for near in found]


def generated(names: list[str]) -> Iterator[str]:
    yield from names


@pytest.mark.parametrize("form", [np.array, pd.Series, pa.array, tuple, generated])
def test_search_takes_any_list_of_names(
    index: histo_index.Index, names: list[str], form: Any
) -> None:
    assert ids_of(index.search(form(names), k=3)) == ids_of(index.search(names, k=3))


def test_every_layout_of_an_image_finds_the_same(
    index: histo_index.Index, names: list[str]
) -> None:
    file = index.manifest.tiles_root(index.opened.folder) / names[0]
    pixels = np.asarray(Image.open(file).convert("RGB"))
    expected = ids_of(index.search(file, k=3, exclude_self=False))
    for image in (pixels, pixels / 255, torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255):
        assert ids_of(index.search(image, k=3, exclude_self=False)) == expected
    batch = torch.from_numpy(np.stack([pixels, pixels]).transpose(0, 3, 1, 2).copy())
    assert ids_of(index.search(batch, k=3, exclude_self=False)) == expected * 2


def test_embed_keeps_the_order_of_files_and_arrays(
    index: histo_index.Index, names: list[str]
) -> None:
    files = [index.manifest.tiles_root(index.opened.folder) / name for name in names]
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    mixed = index.encoder.embed([pixels[0], str(files[1]), files[2]])
    assert mixed.dtype == np.float32
    assert mixed.shape == (3, index.manifest.embedding_size)
    assert mixed.tolist() == index.encoder.embed(pixels).tolist()
    assert mixed.astype(np.float16).tolist() == index.embeddings(names).tolist()
    assert index.encoder.embed(pixels[0]).tolist() == mixed[:1].tolist()
    assert index.encoder.embed([]).shape == (0, index.manifest.embedding_size)
    with pytest.raises(ImageError, match=r"gone.png: cannot be read"):
        index.encoder.embed(["gone.png"])


def test_an_encoder_opens_without_an_index(index: histo_index.Index) -> None:
    folder = index.opened.folder / "encoder"
    assert histo_index.open_encoder(folder).fingerprint == index.manifest.fingerprint
    assert histo_index.open_encoder().config.is_trained


def test_pairs_of_a_dataframe_are_those_of_rows(index: histo_index.Index, names: list[str]) -> None:
    rows = [[names[0], names[1], 1], [names[1], names[2], 0]]
    frame = pd.DataFrame(rows, columns=["image_a", "image_b", "label"], index=[5, 9])
    scores = index.pairs(frame, threshold=0.5)
    assert scores.table.equals(index.pairs(rows, threshold=0.5).table)
    assert scores.labelled == 2
    assert scores.to_pandas()["image_b"].tolist() == [names[1], names[2]]


def test_neighbours_are_a_list_with_a_table(index: histo_index.Index, names: list[str]) -> None:
    found = index.search(names[:2], k=2)
    assert isinstance(found, list)
    table = found.table
    assert table["query"].to_pylist() == [names[0]] * 2 + [names[1]] * 2
    assert table["rank"].to_pylist() == [1, 2, 1, 2]
    assert table["image_id"].to_pylist() == [name for near in ids_of(found) for name in near]
    assert table["label"].to_pylist() == [n.metadata["label"] for near in found for n in near]
    assert found.to_pandas().equals(table.to_pandas())
    assert index.search([], k=2).table.column_names == [
        "query", "rank", "image_id", "path", "distance",
    ]  # fmt: skip


def test_a_pair_is_a_table_of_one_row(index: histo_index.Index, names: list[str]) -> None:
    answer = index.pair(names[0], names[1], threshold=1)
    assert answer.table.to_pylist() == [answer.as_dict()]
    assert answer.to_pandas()["distance"][0] == answer.distance


def test_without_pandas_the_message_names_the_table(
    index: histo_index.Index, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = index.pair(names[0], names[1], threshold=1)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pandas is not installed; install it, or use `.table`"):
        answer.to_pandas()


def test_a_montage_and_a_report_take_the_same_forms(
    index: histo_index.Index, names: list[str], tmp_path: Path
) -> None:
    queries = pd.Series(names)
    found = index.search(queries, k=2)
    index.draw(queries, found, tmp_path / "m.png")
    index.report(found, tmp_path / "r.html", images=queries)
    with Image.open(tmp_path / "m.png") as montage:
        assert montage.height > 3 * 160
    assert (tmp_path / "r.html").read_text().count('alt="query tile"') == 3


def test_a_picture_is_shown_only_of_the_content_that_was_indexed(
    index: histo_index.Index, names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = index.search(names[:1], k=2)
    root = index.opened.manifest.tiles_root(index.opened.folder)
    shutil.copytree(root, tmp_path / "copy")
    index.draw(names[:1], found, tmp_path / "m.png", tiles=tmp_path / "copy")
    assert "could not be drawn" not in caplog.text
    nearest = found[0][0]
    Image.new("RGB", (64, 64), "red").save(tmp_path / "copy" / str(nearest.path))
    index.draw(names[:1], found, tmp_path / "n.png", tiles=tmp_path / "copy")
    assert "1 tile could not be drawn" in caplog.text
    index.report(found, tmp_path / "r.html", images=names[:1], tiles=tmp_path / "copy")
    assert "1 of the tiles could not be read, or changed" in (tmp_path / "r.html").read_text()
