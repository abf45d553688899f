"""Slides are read at the scale and place that was asked for, by either library."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.errors import ImageError, InputError
from histo_index.slides.reading import reader, tiff_reader
from histo_index.slides.reading.identity import SlideTile
from histo_index.slides.reading.info import Bounds, Scale
from histo_index.slides.reading.overview import read_overview
from histo_index.slides.reading.reader import Slide, SlideFile
from histo_index.slides.reading.regions import choose_level, read_tiles
from tests.slide_files import BLOCK, GLASS, Pixels, SlideLook, shrink, write_scn, write_slide

_OPENED: list[Slide] = []


@pytest.fixture(autouse=True)
def _slides_are_closed() -> Iterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().close()


def open_slide(file: SlideFile) -> Slide:
    _OPENED.append(reader.open_slide(file))
    return _OPENED[-1]


def open_by_tifffile(path: Path) -> Slide:
    _OPENED.append(tiff_reader.open_by_tifffile(path, SlideFile.of(path)))
    return _OPENED[-1]


def tile(x: int, y: int, mpp: float = 0.5, size: int = 256) -> SlideTile:
    return SlideTile(slide="slide", x=x, y=y, mpp=mpp, size=size)


def read_one(path: Path, wanted: SlideTile, mpp: float | None = None) -> Pixels:
    (pixels,) = read_tiles(open_slide(SlideFile.of(path, mpp)), [wanted])
    assert not isinstance(pixels, ImageError), pixels
    return pixels


def test_a_slide_is_described(slide: Path) -> None:
    info = open_slide(SlideFile.of(slide)).info
    assert info.reader.startswith("OpenSlide 4")
    assert (info.vendor, info.width, info.height) == ("generic-tiff", 1536, 1280)
    assert info.scale is not None
    assert (info.scale.x, info.scale.y) == pytest.approx((0.5, 0.5))
    assert [level.downsample for level in info.levels] == [1, 4]
    assert info.problems == ()


def test_every_tile_has_the_pixels_that_were_drawn_there(slide: Path, plane: Pixels) -> None:
    tiles = [tile(x, y) for y in (0, 256, 300, 1024) for x in (0, 255, 256, 777, 1280)]
    for wanted, pixels in zip(
        tiles, read_tiles(open_slide(SlideFile.of(slide)), tiles), strict=True
    ):
        drawn = plane[wanted.y : wanted.y + 256, wanted.x : wanted.x + 256]
        np.testing.assert_array_equal(pixels, drawn)


def test_a_coarser_tile_comes_from_the_next_finer_level(slide: Path, plane: Pixels) -> None:
    info = open_slide(SlideFile.of(slide)).info
    chosen = {mpp: choose_level(info, mpp) for mpp in (0.4, 0.5, 1.0, 1.99, 2.0, 3.0)}
    assert chosen == {0.4: 0, 0.5: 0, 1.0: 0, 1.99: 1, 2.0: 1, 3.0: 1}
    quarter = read_one(slide, tile(256, 256, mpp=2.0, size=64))
    np.testing.assert_array_equal(quarter, shrink(plane, 4)[64:128, 64:128])


def test_resampling_is_exact_and_antialiased(slide: Path, plane: Pixels) -> None:
    found = read_one(slide, tile(256, 256, mpp=0.75, size=128))
    region = Image.fromarray(plane[256 : 256 + 192, 256 : 256 + 192])
    expected = region.resize((128, 128), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found, np.asarray(expected))
    # Edges between pixels count in part.
    odd = read_one(slide, tile(256, 256, mpp=0.51, size=100))
    window = Image.fromarray(plane[256 : 256 + 102, 256 : 256 + 102])
    shrunk = window.resize((100, 100), Image.Resampling.BILINEAR, box=(0, 0, 102, 102))
    np.testing.assert_array_equal(odd, np.asarray(shrunk))


def test_a_tile_is_the_same_alone_and_in_a_block(slide: Path) -> None:
    opened = open_slide(SlideFile.of(slide))
    tiles = [tile(101 * n, 37 * n, mpp=0.61, size=100) for n in range(9)]
    together = read_tiles(opened, tiles)
    for wanted, pixels in zip(tiles, together, strict=True):
        np.testing.assert_array_equal(pixels, read_tiles(opened, [wanted])[0])


def test_a_tile_beyond_the_edge_is_white_there(slide: Path, plane: Pixels) -> None:
    pixels = read_one(slide, tile(1536 - 100, 1280 - 100))
    np.testing.assert_array_equal(pixels[:100, :100], plane[-100:, -100:])
    assert (pixels[100:] == 255).all()
    assert (pixels[:, 100:] == 255).all()


@pytest.mark.parametrize(("x", "y"), [(1536, 0), (0, 1280), (-256, 0), (0, -256), (10**8, 10**8)])
def test_a_tile_outside_the_slide_is_an_error(slide: Path, x: int, y: int) -> None:
    tile = SlideTile(slide=str(slide), x=x, y=y, mpp=0.5, size=256)
    (found,) = read_tiles(open_slide(SlideFile.of(slide)), [tile])
    assert isinstance(found, ImageError)
    assert f"{tile}: outside the slide, which has 1536×1280 pixels; x and y are" in str(found)


def test_a_strip_tiff_is_read_by_tifffile(tmp_path: Path, plane: Pixels) -> None:
    look = SlideLook(tile=None, downsamples=(1,), options={"rowsperstrip": 50})
    path = write_slide(tmp_path / "strips.tif", plane, look)
    opened = open_slide(SlideFile.of(path))
    assert opened.info.reader.startswith("tifffile ")
    assert opened.info.require_scale() == Scale(x=0.5, y=0.5, origin="the file (TIFF resolution)")
    for wanted in (tile(256, 256), tile(1436, 1180), tile(333, 77)):
        (found,) = read_tiles(opened, [wanted])
        assert isinstance(found, np.ndarray)
        padded = np.pad(plane, ((0, 256), (0, 256), (0, 0)), constant_values=255)
        np.testing.assert_array_equal(found, padded[wanted.y :, wanted.x :][:256, :256])


def test_both_readers_agree_on_tiles(slide: Path) -> None:
    file = SlideFile.of(slide)
    tiles = [tile(200, 300), tile(256, 256, mpp=2.0, size=64), tile(10, 10, mpp=0.77)]
    first, second = (read_tiles(s, tiles) for s in (open_slide(file), open_by_tifffile(slide)))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_anisotropic_pixels_become_square_tiles(tmp_path: Path, plane: Pixels) -> None:
    stretched = np.asarray(Image.fromarray(plane).resize((1536, 2560), Image.Resampling.NEAREST))
    look = SlideLook(mpp=0.5, mpp_y=0.25, downsamples=(1,))
    path = write_slide(tmp_path / "tall.tiff", stretched, look)
    info = open_slide(SlideFile.of(path)).info
    assert info.problems == (
        "0.5 µm/px along x and 0.25 along y: tiles are made square in microns",
    )
    found = read_one(path, tile(256, 512, size=256)).astype(int)
    assert np.abs(found - plane[256:512, 256:512]).mean() < 3


def test_bounds_are_those_of_the_scanned_part(tmp_path: Path, plane: Pixels) -> None:
    path = write_scn(tmp_path / "a.scn", plane, mpp=0.5, corner=(512, 256))
    info = open_slide(SlideFile.of(path)).info
    assert info.vendor == "leica"
    assert info.bounds == Bounds(x=512, y=256, width=1536, height=1280)
    # Coordinates are those of the whole plane.
    found = read_one(path, tile(512 + 256, 256 + 256))
    np.testing.assert_array_equal(found, plane[256:512, 256:512])


def test_an_overview_shows_the_bounds(tmp_path: Path, plane: Pixels) -> None:
    path = write_scn(tmp_path / "a.scn", plane, mpp=0.5, corner=(512, 256))
    overview = read_overview(open_slide(SlideFile.of(path)), 8.0)
    assert overview.shape == (80, 96, 3)
    np.testing.assert_array_equal(overview, shrink(plane, 16))


@pytest.mark.parametrize(
    ("mpp", "why"),
    [
        (None, "no scale (microns per pixel) in the file"),
        (352.8, "no scale: the file says 352"),
        (0.001, "no scale: the file says 0.001"),
    ],
)
def test_a_slide_without_a_usable_scale_says_so(
    tmp_path: Path, plane: Pixels, mpp: float | None, why: str
) -> None:
    path = write_slide(tmp_path / "a.tiff", plane, SlideLook(mpp=mpp))
    info = open_slide(SlideFile.of(path)).info
    assert info.scale is None
    with pytest.raises(ImageError) as caught:
        info.require_scale()
    assert str(caught.value).startswith(f"{path}: {why}")
    assert str(caught.value).endswith("; pass --slide-mpp with a CSV of the columns slide,mpp")
    # The user's own scale wins.
    assert open_slide(SlideFile.of(path, 0.25)).info.require_scale().mean == 0.25


@pytest.mark.parametrize("stored", [("0", "0"), ("nan", "0.5"), ("inf", "inf"), ("", "x")])
def test_a_scale_that_is_no_length_is_refused(stored: tuple[str, str]) -> None:
    from histo_index.slides.reading.info import choose_scale

    scale, problems = choose_scale(stored, None, "the file")
    assert scale is None
    assert problems[0].startswith(f"no scale: the file says {', '.join(stored)}")


def test_damaged_slides_are_errors_of_one_line(tmp_path: Path, slide: Path) -> None:
    data = slide.read_bytes()
    cases = {
        "empty.svs": b"",
        "noise.svs": b"\x93" * 5000,
        "header.svs": data[:100],
        "wrong.svs": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: (not a slide|damaged slide)"):
            open_slide(SlideFile.of(tmp_path / name))
    with pytest.raises(ImageError, match=r"missing.svs: cannot be read \(No such file"):
        open_slide(SlideFile.of(tmp_path / "missing.svs"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.svs")
    with pytest.raises(ImageError, match=r"pipe.svs: not a slide: not a regular file; pass"):
        open_slide(SlideFile.of(tmp_path / "pipe.svs"))


def test_a_damaged_tile_costs_no_other(tmp_path: Path, plane: Pixels) -> None:
    path = write_slide(tmp_path / "a.tiff", plane, SlideLook(downsamples=(1,)))
    import tifffile

    with tifffile.TiffFile(path) as opened:
        page = opened.pages[0]
        start = page.dataoffsets[7]  # column 1, row 1
    data = bytearray(path.read_bytes())
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    tiles = [tile(x * BLOCK + 20, BLOCK + 20, size=200) for x in range(4)]
    found = read_tiles(open_by_tifffile(path), tiles)
    assert [isinstance(pixels, ImageError) for pixels in found] == [False, True, False, False]


def test_what_was_not_scanned_is_white(tmp_path: Path, plane: Pixels) -> None:
    path = write_scn(tmp_path / "a.scn", plane, mpp=0.5, corner=(512, 256))
    assert (read_one(path, tile(0, 0)) == 255).all()
    assert (read_one(path, tile(600, 300, size=16)) == GLASS).all()


def test_an_unknown_scale_is_no_tile(tmp_path: Path, plane: Pixels) -> None:
    path = write_slide(tmp_path / "a.tiff", plane, SlideLook(mpp=None))
    (found,) = read_tiles(open_slide(SlideFile.of(path)), [tile(0, 0)])
    assert isinstance(found, ImageError)
    wanted = dataclasses.replace(tile(256, 256), slide_mpp=0.5)
    np.testing.assert_array_equal(read_one(path, wanted, 0.5), plane[256:512, 256:512])


def test_missing_libraries_are_named_with_the_remedy() -> None:
    reader.require_libraries()
    with pytest.raises(InputError) as caught:
        reader.require_libraries(["numpy", "no_such_library"])
    assert str(caught.value) == (
        "slides need no_such_library, which is not installed; run pip install 'histo-index[slides]'"
    )


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("slide.svs", "bad tag", "damaged slide (bad tag); copy it again"),
        ("gone.svs", "bad tag", "cannot be read (No such file or directory); check the folder"),
        ("slide.svs", "TIFF: Input/output error", "cannot be read (TIFF: Input/output error); "),
        ("slide.svs", "Stale file handle", "cannot be read (Stale file handle); "),
        ("dicom", "bad tag", "damaged slide (bad tag); copy it again"),
    ],
)
def test_a_slide_that_is_out_of_reach_is_not_called_damaged(
    tmp_path: Path, name: str, line: str, reason: str
) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "slide.svs").write_bytes(b"none")
    error = reader.explain_fault(SlideFile.of(tmp_path / name), line)
    assert str(error).startswith(f"{tmp_path / name}: {reason}")


def test_a_slide_without_directories_is_damaged_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "cut.tiff"
    # Its only directory lies beyond the end.
    path.write_bytes(b"II*\0" + (9_000).to_bytes(4, "little") + bytes(100))
    with pytest.raises(ImageError) as error:
        open_slide(SlideFile.of(path))
    assert str(error.value) == f"{path}: damaged slide (its content makes no sense); copy it again"
