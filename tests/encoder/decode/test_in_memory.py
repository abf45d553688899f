"""Images in memory become the pixels that their files would give, whatever their layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from histo_index.encoder.decode.in_memory import list_images, to_pixels
from histo_index.errors import ImageError, InputError
from tests.encoder.files import STORED, UPRIGHT, painted, sample_files

SAMPLES = sample_files()
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[:, :, 0]
RGBA = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])


def test_pillow_images_in_memory_are_converted_as_files_are() -> None:
    alpha = Image.fromarray(np.array([[[0, 100, 200, 128]]], np.uint8))
    assert to_pixels(alpha).tolist() == [[[127, 177, 227]]]
    deep = Image.fromarray(np.array([[32768, 257]], np.uint16))
    assert to_pixels(deep).tolist() == [[[128] * 3, [1] * 3]]
    turned = Image.fromarray(painted(STORED, 1))
    turned.getexif()[0x0112] = 6
    assert to_pixels(turned).tolist() == painted(UPRIGHT[6], 1).tolist()
    assert to_pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).tolist() == [[[255, 0, 0]]]


def test_a_pillow_image_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.jpg"
    path.write_bytes(SAMPLES["jpeg"][:-20])
    with Image.open(path) as lazy, pytest.raises(ImageError, match=r"^image: cannot be turned"):
        to_pixels(lazy)
    with pytest.raises(ImageError, match=r"^image: cannot be turned into RGB \(conversion from La"):
        to_pixels(Image.new("La", (1, 1)))


def test_pixel_arrays_pass_as_they_are() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert to_pixels(pixels) is pixels


@pytest.mark.parametrize(
    "image",
    [
        RGB.transpose(2, 0, 1),
        RGBA,
        RGBA.transpose(2, 0, 1),
        RGB / 255,
        (RGB / 255).astype(np.float16),
        torch.from_numpy(RGB.transpose(2, 0, 1).copy()),
        torch.from_numpy(RGB.transpose(2, 0, 1) / 255).requires_grad_(),
        torch.from_numpy(RGB.transpose(2, 0, 1) / 255).float(),
        torch.from_numpy(RGB.copy()),
    ],
    ids=lambda image: f"{type(image).__name__} {image.dtype} {list(image.shape)}",
)
def test_every_layout_gives_the_same_pixels(image: Any) -> None:
    pixels = to_pixels(image)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == RGB.tolist()


@pytest.mark.parametrize("image", [GREY, GREY[None], GREY[:, :, None], GREY / 255])
def test_grey_becomes_rgb(image: Any) -> None:
    assert to_pixels(image).tolist() == np.repeat(GREY[:, :, None], 3, axis=2).tolist()


def test_transparent_pixels_are_white_as_in_files() -> None:
    alpha = np.array([[[0, 100, 200, 128]]], np.uint8)
    assert to_pixels(alpha).tolist() == [[[127, 177, 227]]]
    assert to_pixels(alpha / 255).tolist() == [[[127, 177, 227]]]


def test_a_tensor_is_read_with_channels_first_where_both_fit() -> None:
    both = np.zeros((3, 5, 3), np.uint8)
    both[0] = 255
    assert to_pixels(torch.from_numpy(both))[0, 0].tolist() == [255, 0, 0]
    assert to_pixels(both) is both


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 2), np.float32), "float32 [2, 3, 2]"),
        (np.zeros((2, 3, 3), np.int64), "int64 [2, 3, 3]"),
        (np.zeros((0, 3, 3), np.uint8), "uint8 [0, 3, 3]"),
        (np.zeros((1, 2, 3, 3), np.uint8), "uint8 [1, 2, 3, 3]"),
        ([[[0, 0, 0]]], "list []"),
        (7, "int []"),
    ],
)
def test_other_values_are_refused(array: Any, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        to_pixels(array)
    assert str(caught.value) == (
        f"image: not an image: {words}; expected a Pillow image, or uint8 values or floats from "
        "0 to 1 as [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels"
    )


def test_a_tensor_may_be_of_a_type_that_numpy_lacks() -> None:
    assert to_pixels(torch.tensor([[0, 0.5, 1]], dtype=torch.bfloat16))[0, :, 0].tolist() == [
        0, 128, 255
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"), [(255.0, "0 to 255"), (1.5, "0 to 1.5"), (-1.0, "-1 to 0")]
)
def test_floats_of_another_range_are_refused_with_the_remedy(value: float, shown: str) -> None:
    floats = np.zeros((2, 2, 3))
    floats[1, 1, 0] = value
    with pytest.raises(ImageError, match=f"floats from {shown}; expected 0 to 1: divide by"):
        to_pixels(floats)
    floats[0, 0, 0] = np.nan
    with pytest.raises(ImageError, match="expected 0 to 1"):
        to_pixels(floats)


def names() -> Iterator[str]:
    yield from ("a", "b")


@pytest.mark.parametrize(
    "images",
    [
        ["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object),
        pd.Series(["a", "b"], index=[7, 9]), pa.array(["a", "b"]), pa.chunked_array([["a"], ["b"]]),
        names(), {"a": 0, "b": 1},
    ],
    ids=lambda images: type(images).__name__,
)  # fmt: skip
def test_several_images_come_as_any_kind_of_list(images: Any) -> None:
    assert list_images(images) == ["a", "b"]


def test_one_image_is_one_and_a_batch_is_several() -> None:
    for one in ("a", Path("a"), Image.fromarray(RGB), RGB, GREY, torch.from_numpy(RGB.copy())):
        assert list_images(one) == [one] or list_images(one)[0] is one
        assert len(list_images(one)) == 1
    assert len(list_images(np.stack([RGB, RGB]))) == 2
    assert len(list_images(torch.zeros(5, 3, 4, 4))) == 5
    with pytest.raises(InputError, match=r"pass the column that names them: table\['path'\]"):
        list_images(pd.DataFrame({"path": ["a"]}))
