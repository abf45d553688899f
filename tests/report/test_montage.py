from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.report.montage import draw_pages


@pytest.mark.parametrize("letter", "äßéłΩж")
def test_captions_have_the_letters_of_names(letter: str, tmp_path: Path) -> None:
    """A letter that the font lacks is drawn as a box, like that of no alphabet."""
    pages = [next(draw_pages([(name, None)], [[]], tmp_path)) for name in (letter, "\U0010fffd")]
    first, second = (np.asarray(page) for page in pages)
    assert first.shape == second.shape
    assert (first != second).any()


def test_letters_that_the_font_lacks_are_written_as_numbers(tmp_path: Path) -> None:
    """Names in Chinese would all be the same boxes."""
    names = ("病理-01.png", "病例-01.png", r"\u75c5\u7406-01.png")
    first, second, escaped = (
        np.asarray(next(draw_pages([(name, None)], [[]], tmp_path))) for name in names
    )
    assert np.array_equal(first, escaped)
    assert first.shape == second.shape
    assert (first != second).any()


def test_a_frame_says_why_it_is_empty(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"damaged")
    pictures = [
        np.asarray(next(draw_pages([("x", file)], [[]], tmp_path, is_current=lambda _: False)))
        for file in (None, tmp_path / "gone.png", tmp_path / "b.png", tmp_path / "a.png")
    ]
    # The first three say that there is nothing to read, the last that it was changed.
    assert [np.array_equal(pictures[0], picture) for picture in pictures] == [
        True, True, True, False,
    ]  # fmt: skip
