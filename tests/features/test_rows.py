"""How rows get their names, columns and paths, and what is not believed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.api.features.import_features import import_features
from histo_index.api.features.map_points import map_points
from histo_index.api.features.options import FeatureOptions
from histo_index.api.features.plan import name_jobs
from histo_index.api.features.slides import SlideFolder
from histo_index.encoder.config import EncoderConfig
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.folder import save_encoder
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.errors import InputError, MismatchError
from histo_index.features.choose import Choice, Chosen
from histo_index.features.containers.part import Facts
from histo_index.features.metadata import Metadata, read_metadata
from histo_index.features.reading.blocks import read_block
from histo_index.features.reading.frames import Frame
from histo_index.features.slide_names import SlideNames
from histo_index.features.tiles import SlideFound, SlideTiles, fill_columns, slide_rows
from histo_index.slides.reading.identity import SlideTile
from tests.features.writers import draw_slide, write_trident

FACTS = Facts(path="f/s.h5", tool="TRIDENT", slide="s", rows=2, size=2, size_px=256, span_px=512.0)
PLACES = pa.table({"x": pa.array([0, 512]), "y": pa.array([0, 0])})


def table_of(tmp_path: Path, text: str) -> Metadata:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    return read_metadata(path)


def test_no_path_of_a_foreign_file_leads_out_of_the_folder_of_the_tiles() -> None:
    paths = ["/etc/a.png", "../b.svs#x=0", "c/../../d", "C:\\e", "..\\f", "g\0h", "i/j..k.png"]
    rows = pa.table({"image_id": [str(n) for n in range(7)], "path": paths})
    schema = pa.schema({"image_id": pa.string(), "path": pa.string()})
    assert fill_columns(rows, schema)["path"].to_pylist() == [
        "…//etc/a.png", "…/…/b.svs#x=0", "…/c/…/…/d", "…/C:\\e", "…/…\\f", "…/g…h", "i/j..k.png",
    ]  # fmt: skip
    ids = rows.drop_columns(["path"]).set_column(0, "image_id", rows["path"])
    found = fill_columns(ids, schema)
    assert found["image_id"].to_pylist() == paths
    assert found["path"][0].as_py() == "…//etc/a.png"


def test_metadata_join_by_tile_for_tiles_of_slides_too(tmp_path: Path) -> None:
    tiles = SlideTiles(slide=SlideFound(path="s"), mpp=0.5, size=256)
    rows = slide_rows(PLACES, tiles)
    name = str(SlideTile(slide="s", x=512, y=0, mpp=0.5, size=256))
    found = table_of(tmp_path, f'image_id,label\n"{name}",t\nother,o\n').join(rows)
    assert found["label"].to_pylist() == [None, "t"]


def test_metadata_join_by_slide_for_rows_with_their_own_ids_too(tmp_path: Path) -> None:
    rows = pa.table({"image_id": ["a", "b", "c"], "slide_id": ["x/S.1.svs", "S", None]})
    metadata = table_of(tmp_path, "slide,label\nS.1,one\nS.2,two\n")
    assert metadata.join(rows)["label"].to_pylist() == ["one", None, None]
    assert metadata.join(rows.drop_columns(["slide_id"]))["label"].to_pylist() == [None] * 3


def test_slides_are_found_by_path_then_file_name_then_stem(tmp_path: Path) -> None:
    names = SlideNames([("a/s.svs", 1), ("b/s.svs", 2), ("b/s.ome.tif", 3), ("t.ndpi", 4)])
    found = {name: names.find(name) for name in ("a/s.svs", "s.svs", "s", "c/t.svs", "t", "u")}
    assert found == {
        "a/s.svs": [1], "s.svs": [1, 2], "s": [1, 2, 3], "c/t.svs": [4], "t": [4], "u": [],
    }  # fmt: skip
    metadata = table_of(tmp_path, "slide,label\na/s.svs,x\nb/s.svs,y\n")
    rows = pa.table({"image_id": ["p"], "slide_id": ["b/s.svs"]})
    assert metadata.join(rows)["label"].to_pylist() == ["y"]
    with pytest.raises(InputError, match=r"cases.csv: 2 rows for slide s; name slides by their"):
        metadata.find_slide("s")


def test_two_files_of_one_slide_are_told_apart_from_their_names() -> None:
    """TRIDENT names files by the stem, others by the file name: both are of s.svs."""
    chosen = [Chosen(facts=replace(FACTS, path=f"f/{n}.h5", slide=n)) for n in ("s", "s.svs")]
    choice = Choice(chosen=chosen)
    slides = SlideFolder(
        folder=Path("slides"), slides=SlideNames([("s.svs", "s.svs")]),
        scales=SlideNames([("s", 0.25)]),
    )  # fmt: skip
    (job,) = name_jobs(choice, slides, Metadata(), Path("x.hx"))
    assert (job.key, job.tiles and job.tiles.mpp) == ("../f/s.h5", 0.5)
    (rejected,) = choice.rejected
    assert (rejected.path, rejected.reason) == (
        "f/s.svs.h5", "two files of one slide: also f/s.h5",
    )  # fmt: skip


def frame(table: pa.Table = PLACES, embeddings: Any = None, **values: Any) -> Frame:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    rows = np.eye(2, dtype=np.float16) if embeddings is None else embeddings
    known = {"start": 0, "bad": {}} | values
    return Frame(
        kind="rows", job=0, values=known, table=sink.getvalue().to_pybytes(),
        embeddings=rows.tobytes(),
    )  # fmt: skip


HOSTILE = {
    "no place": frame(PLACES.drop_columns(["y"])),
    "another type": frame(PLACES.set_column(0, "x", pa.array(["a", "b"]))),
    "no number": frame(PLACES.set_column(0, "x", pa.array([0, None]))),
    "fewer places": frame(PLACES.slice(1)),
    "no places": frame(PLACES.slice(2)),
    "infinite": frame(embeddings=np.full((2, 2), np.inf, np.float16)),
    "half a row": frame(embeddings=np.ones(3, np.float16)),
    "another start": frame(start=2),
    "no start": Frame(kind="rows", job=0, values={"bad": {}}, table=frame().table),
    "a row outside": frame(bad={"all 0": [2]}),
    "a row that is none": frame(bad={"all 0": [None]}),
    "no list": frame(bad=[1]),
    "no table": Frame(kind="rows", job=0, values=frame().values, table=b"nothing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_word_of_a_child_that_was_taken_over_is_believed(name: str) -> None:
    with pytest.raises(InputError, match=r"^f/s.h5: cannot be read \(") as caught:
        read_block(HOSTILE[name], FACTS, 0)
    assert "\n" not in str(caught.value)


def test_a_sound_block_is_read() -> None:
    block = read_block(frame(bad={"all 0": [1]}), FACTS, 0)
    assert (block.table.equals(PLACES), block.bad) == (True, {"all 0": [1]})
    assert np.array_equal(block.embeddings, np.eye(2))


def test_columns_of_text_are_no_map(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    ids = [str(n) for n in range(6)]
    given = {"map_x": list(range(6)), "map_y": [0.5] * 6}
    number = histo_index.from_embeddings(ids, rows, tmp_path / "n.hx", given)
    assert map_points(number.opened)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    text = histo_index.from_embeddings(ids, rows, tmp_path / "t.hx", dict.fromkeys(given, ids))
    assert map_points(text.opened).shape == (6, 2)


def test_an_encoder_of_another_size_is_refused_before_the_long_work(tmp_path: Path) -> None:
    config = EncoderConfig(
        architecture="resnet18", preprocessing=Preprocessing(resize_px=32, crop_px=32),
        training={"method": "none"},
    )  # fmt: skip
    save_encoder(tmp_path / "encoder", config, random_weights("resnet18", seed=0))
    write_trident(tmp_path / "t", draw_slide("a", 3, 4))
    options = FeatureOptions(slide_mpp={"a": 0.25}, encoder=tmp_path / "encoder")
    with pytest.raises(MismatchError, match=r"the features have 4 numbers, but the encoder .* 512"):
        import_features(tmp_path / "t", tmp_path / "x.hx", options)
    assert not (tmp_path / "x.hx").exists()
    assert json.loads((tmp_path / "encoder" / "config.json").read_text())["architecture"]
