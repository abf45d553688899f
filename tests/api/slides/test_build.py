"""Indexes of slides, alone and mixed with tile files: real decoder processes, no network."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histo_index.api.slides.cut import SlideCutter, cut_slides
from histo_index.api.slides.tile import tile
from histo_index.errors import InputError
from histo_index.indexer.build_config import BuildReport
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import read_rejected
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.decoding import DecodingEncoder
from tests.indexer.fakes import embedding_of, run_build
from tests.slide_files import PLAN, Pixels, SlideLook, cut_here, draw_plane, write_slide

HALF = SlideSource(options=TileOptions(mpp=0.5))
POSITIONS = [f"#x={256 * c},y={256 * r},mpp=0.5,size=256" for _, c, r in PLAN]


@pytest.fixture(scope="module")
def planes() -> list[Pixels]:
    return [draw_plane(seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecodingEncoder]:
    with DecodingEncoder(folder=tmp_path_factory.mktemp("encoder"), workers=1) as made:
        yield made


@pytest.fixture
def slides(tmp_path: Path, planes: list[Pixels]) -> Path:
    """Two slides of one name, and a tile that equals a region of the first."""
    write_slide(tmp_path / "data/a/s.svs", planes[0])
    write_slide(tmp_path / "data/b/s.svs", planes[1])
    Image.fromarray(planes[0][256:512, 256:512]).save(tmp_path / "data/tile.png")
    return tmp_path / "data"


def build(folder: Path, encoder: DecodingEncoder, **options: Any) -> BuildReport:
    usual = {"slides": HALF, "cut_slides": cut_here, "sources": [folder]}
    return run_build(folder.parent / "x.hx", encoder, **{**usual, **options})


def rows(index: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = OpenIndex(index).rows.to_pylist()
    return found


def rejected_of(index: Path) -> list[Rejection]:
    return read_rejected(index, read_manifest(index)) or []


def test_slides_and_tiles_are_mixed_in_one_index(
    slides: Path, encoder: DecodingEncoder, planes: list[Pixels]
) -> None:
    report = build(slides, encoder)
    assert (report.tiles, report.encoded, report.rejected) == (13, 13, {})
    found = {row["image_id"]: row for row in rows(report.index)}
    names = [f"{folder}/s.svs{place}" for folder in "ab" for place in POSITIONS]
    assert sorted(found) == sorted([*names, "tile.png"])
    first = found[names[0]]
    assert (first["slide_id"], first["x"], first["y"]) == ("a/s.svs", 256, 256)
    assert (first["mpp"], first["size"], first["width"], first["height"]) == (0.5, 256, 256, 256)
    assert first["sha256"] == hash_file(slides / names[0])
    assert found["tile.png"]["slide_id"] is None
    # Every embedding is that of the pixels that were drawn there.
    index = OpenIndex(report.index)
    for number, name in enumerate(index.rows["image_id"].to_pylist()):
        row = found[name]
        plane = planes["b/" in name]
        x, y = row["x"] or 256, row["y"] or 256
        pixels = Image.fromarray(plane[y : y + 256, x : x + 256])
        small = np.asarray(pixels.resize((16, 16), Image.Resampling.BILINEAR))
        expected = embedding_of(small.tobytes()).astype(np.float16)
        np.testing.assert_array_equal(index.matrix[number], expected)


def test_only_a_changed_slide_is_encoded_again(
    slides: Path, encoder: DecodingEncoder, planes: list[Pixels]
) -> None:
    build(slides, encoder)
    again = build(slides, encoder, sources=[], slides=None)
    assert (again.tiles, again.encoded, again.reused, again.generation) == (13, 0, 13, 1)
    changed = planes[1].copy()
    changed[256:512, 256:512] = 90, 60, 120
    write_slide(slides / "b/s.svs", changed)
    third = build(slides, encoder, sources=[], slides=None)
    assert (third.tiles, third.encoded, third.dropped) == (13, 6, 0)
    # Moved: the digest is that of the content.
    os.rename(slides / "a", slides / "c")
    moved = build(slides, encoder, sources=[], slides=None)
    assert (moved.tiles, moved.encoded) == (13, 0)


def test_another_scale_is_another_set_of_tiles(slides: Path, encoder: DecodingEncoder) -> None:
    build(slides, encoder)
    coarse = SlideSource(options=TileOptions(mpp=1.0, tile_size=128))
    report = build(slides, encoder, slides=coarse)
    assert (report.tiles, report.encoded, report.reused) == (13, 12, 1)
    assert {row["mpp"] for row in rows(report.index)} == {1.0, None}


def test_slides_without_a_scale_option_are_rejected(slides: Path, encoder: DecodingEncoder) -> None:
    report = build(slides, encoder, slides=None)
    assert report.tiles == 1
    assert report.rejected == {"a slide": 2}
    reasons = {entry.path: entry.reason for entry in rejected_of(report.index)}
    assert reasons["a/s.svs"] == "a slide: pass --mpp, such as --mpp 0.5, to cut it into tiles"


def test_a_broken_slide_costs_its_own_rows(slides: Path, encoder: DecodingEncoder) -> None:
    data = (slides / "b/s.svs").read_bytes()
    (slides / "b/s.svs").write_bytes(data[:3000])
    write_slide(slides / "none.svs", draw_plane(), SlideLook(mpp=None))
    blank = np.full((1280, 1536, 3), 243, np.uint8)
    write_slide(slides / "blank.svs", blank)
    report = build(slides, encoder, cut_slides=cut_slides)
    assert report.tiles == 7
    reasons = {entry.path: entry.reason for entry in rejected_of(report.index)}
    assert set(reasons) == {"b/s.svs", "none.svs", "blank.svs"}
    assert reasons["b/s.svs"].startswith(("damaged slide (", "not a slide: "))
    assert reasons["none.svs"].startswith("no scale (microns per pixel) in the file; pass --slide")
    assert reasons["blank.svs"] == "no tile holds enough tissue: pass a smaller --min-tissue"


def test_tiff_files_are_slides_only_if_they_are_large_or_have_levels(
    slides: Path, encoder: DecodingEncoder, planes: list[Pixels]
) -> None:
    write_slide(slides / "levels.tiff", planes[0])
    write_slide(slides / "flat.tif", planes[0], SlideLook(downsamples=(1,)))
    report = build(slides, encoder)
    assert report.tiles == 13 + 6 + 1
    assert "flat.tif" in {row["image_id"] for row in rows(report.index)}


def test_rows_of_a_manifest_that_name_slides_become_their_tiles(
    slides: Path, encoder: DecodingEncoder
) -> None:
    table = slides.parent / "cases.csv"
    table.write_text("path,label,group\na/s.svs,tumour,p1\nb/s.svs,normal,p2\ntile.png,other,p3\n")
    report = build(slides, encoder, manifest=table)
    found = rows(report.index)
    assert report.tiles == 13
    groups = {(row["slide_id"], row["label"], row["group"]) for row in found}
    assert groups == {
        ("a/s.svs", "tumour", "p1"), ("b/s.svs", "normal", "p2"), (None, "other", "p3")
    }  # fmt: skip
    table.write_text("path,x\na/s.svs,7\n")
    with pytest.raises(InputError, match="column `x` of the manifest is written for the tiles of"):
        build(slides, encoder, manifest=table)


def test_the_manifest_of_tile_is_accepted(slides: Path, encoder: DecodingEncoder) -> None:
    cut = tile(slides / "a", slides / "tiles.parquet", TileOptions(mpp=0.5, sharpness=True))
    report = build(slides, encoder, sources=[cut.manifest], slides=None)
    assert report.tiles == 6
    assert [row["path"] for row in rows(report.index)] == [f"a/s.svs{place}" for place in POSITIONS]
    assert all(row["sharpness"] > 0 for row in rows(report.index))
    # A tile that leaves the slide's folder is refused as a file is.
    (slides.parent / "else.svs").write_bytes(b"")
    outside = pq.ParquetFile(cut.manifest).read(use_threads=False).slice(0, 1)
    outside = outside.set_column(0, "path", pa.array([f"../else.svs{POSITIONS[0]}"]))
    pq.write_table(outside, slides / "tiles.parquet")
    with pytest.raises(InputError, match="lies outside the folder that paths start from"):
        build(slides, encoder, sources=[slides / "tiles.parquet"], slides=None, replace=True)


def test_a_slide_that_changes_during_the_build_is_tried_again(
    slides: Path, encoder: DecodingEncoder, planes: list[Pixels]
) -> None:
    class Changing(DecodingEncoder):
        def encode_files(self, paths: Any) -> Any:
            for result in super().encode_files(paths):
                with open(slides / "b/s.svs", "ab") as file:
                    file.write(b"0")
                yield result

    with Changing(folder=encoder.folder, workers=1) as changing:
        report = build(slides, changing)
    assert report.tiles == 7
    assert report.rejected == {"changed while the index was being built": 6}
    assert build(slides, encoder).tiles == 13


def test_a_slide_that_is_gone_is_refused_and_dropped_when_asked(
    slides: Path, encoder: DecodingEncoder
) -> None:
    first = build(slides, encoder, sources=[slides / "a/s.svs", slides / "b/s.svs"])
    (slides / "b/s.svs").unlink()
    with pytest.raises(InputError, match="6 tiles of the index came from there and were kept"):
        build(slides, encoder, sources=[], slides=None)
    left = build(slides, encoder, sources=[], slides=None, drop_missing_source=True)
    assert (first.tiles, left.tiles, left.dropped) == (12, 6, 6)


def test_a_slide_that_is_as_it_was_is_not_opened_again(
    slides: Path, encoder: DecodingEncoder, planes: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SlideCutter(slides.parent / "x.hx")
    build(slides, encoder, cut_slides=first)
    first.save()
    kept = sorted(first.folder.iterdir())
    assert len(kept) == 2
    # A child that cannot start would end the build.
    with monkeypatch.context() as context:
        context.setattr("sys.executable", "/bin/false")
        again = SlideCutter(slides.parent / "x.hx")
        assert build(slides, encoder, cut_slides=again).encoded == 0
        again.save()
    assert sorted(first.folder.iterdir()) == kept
    # Neither a damaged file nor one of another slide is used.
    for path in kept:
        path.write_bytes(b"damaged")
    write_slide(slides / "b/s.svs", planes[0])
    third = SlideCutter(slides.parent / "x.hx")
    assert build(slides, encoder, cut_slides=third).tiles == 13
    third.save()
    assert len(set(first.folder.iterdir()) & set(kept)) == 1
