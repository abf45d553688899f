"""Copies are confirmed on their pixels: saved again, scaled or turned, but not merely alike."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.decode.thumbnail import read_thumbnails
from histo_index.indexer.nearest.self_join import nearest_others
from histo_index.search.copies.groups import star_groups
from histo_index.search.copies.limits import CORRELATION, THUMBNAIL_PX
from histo_index.search.copies.pixels import are_alike, correlations
from tests.vectors import unit_vectors

FIELD = np.random.default_rng(0).integers(60, 220, (12, 12, 3), np.uint8)


def picture(field: npt.NDArray[np.uint8] = FIELD) -> Image.Image:
    return Image.fromarray(field).resize((96, 96), Image.Resampling.BICUBIC)


def agreement(folder: Path, other: Image.Image, *, name: str = "second.png") -> float:
    """Correlate the field with another picture, both read from files."""
    picture().save(folder / "first.png")
    other.save(folder / name, quality=75)
    found = list(read_thumbnails([folder / "first.png", folder / name], THUMBNAIL_PX))
    thumbnails = np.stack([one.pixels for one in found if one is not None])
    return float(correlations(thumbnails, np.array([0]), np.array([1]))[0])


def test_a_field_that_is_saved_again_scaled_or_turned_agrees(tmp_path: Path) -> None:
    assert agreement(tmp_path, picture(), name="second.jpg") > 0.99
    assert agreement(tmp_path, picture().resize((48, 48))) > 0.98
    for turn in (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT,
                 Image.Transpose.TRANSVERSE):  # fmt: skip
        assert agreement(tmp_path, picture().transpose(turn)) > 0.99
    brighter = picture().point(lambda value: value * 0.8 + 30)
    assert agreement(tmp_path, brighter) > 0.99


def test_another_field_and_empty_background_do_not_agree(tmp_path: Path) -> None:
    other = np.random.default_rng(1).integers(60, 220, FIELD.shape, np.uint8)
    assert agreement(tmp_path, picture(other)) < CORRELATION - 0.2
    flat = np.full((2, 8, 8), 240, np.uint8)
    flat[:, 3, 3] += 1
    assert correlations(flat, np.array([0]), np.array([1]))[0] < 0.1


@pytest.mark.parametrize("least", [0.0, 0.5, 0.95])
def test_pairs_are_alike_where_their_correlation_says_so(least: float) -> None:
    generator = np.random.default_rng(3)
    fields = generator.integers(0, 255, (40, 6, 6), np.uint8)
    fields[20:30] = [np.rot90(field, int(generator.integers(4))) for field in fields[:10]]
    fields[30:] = np.clip(fields[:10] + generator.normal(0, 60, (10, 6, 6)), 0, 255)
    left, right = np.triu_indices(40, 1)
    expected = correlations(fields, left, right) >= least
    assert 10 <= expected.sum() < len(expected) or least == 0
    np.testing.assert_array_equal(are_alike(fields, left, right, least), expected)


def test_a_jpeg_is_decoded_small_and_looks_the_same(tmp_path: Path) -> None:
    large = picture().resize((600, 400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    tile = read_tile(tmp_path / "large.jpg", DecodeLimits(), least_px=64)
    assert tile.pixels.shape == (100, 150, 3)
    assert agreement(tmp_path, large, name="large.jpg") > 0.99


def test_a_file_that_cannot_be_read_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"no image")
    assert list(read_thumbnails([tmp_path / "cut.png", tmp_path / "gone.png"], 8)) == [None, None]


def test_groups_have_a_centre_and_no_chains() -> None:
    rows = np.array([3, 5, 7, 9, 11])
    centres = star_groups(rows, np.array([3, 5, 7]), np.array([5, 7, 9]))
    assert centres.tolist() == [5, 5, 5, 9, 11]


@pytest.mark.parametrize("count", [0, 1, 60, 1500])
def test_near_pairs_are_those_of_a_comparison_of_all_with_all(count: int) -> None:
    vectors = unit_vectors(max(count, 1), 16)[:count]
    for copy, of in ((1, 0), (50, 7), (59, 58)):
        if copy < count:
            vectors[copy] = vectors[of] + 0.01
    left, right = nearest_others(vectors, 8, limit=0.01)
    expected = [(0, 1), (7, 50), (58, 59)] if count >= 60 else []
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected
