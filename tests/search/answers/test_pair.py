"""Images are shown by names that tell them apart, without where they lie."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_index.report.montage import draw_pages
from histo_index.report.pictures import short_names
from histo_index.search.answers.neighbours import Neighbour


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["s1/a.png", "../s2/a.png"], ["s1/a.png", "../s2/a.png"]),
        (["/home/jane/s1/a.png"], ["a.png"]),
        (
            ["/home/jane/s1/a.png", "b.png", "/home/jane/s2/a.png"],
            ["s1/a.png", "b.png", "s2/a.png"],
        ),
        (["/home/s1/a.png", "/home/b.png"], ["s1/a.png", "b.png"]),
        (["/a.png", "/s1/a.png"], ["a.png", "s1/a.png"]),
        (["/home/s10/a.png", "/home/s1/a.png"], ["s10/a.png", "s1/a.png"]),
        ([r"C:\jane\s1\a.png", r"C:\jane\s2\a.png"], ["s1/a.png", "s2/a.png"]),
        (["a.png", "/x/a.png", "/x/b.png"], ["a.png", "…/a.png", "b.png"]),
        (["/x/a.png", r"C:\x\a.png", "/x/a.png"], ["a.png", "…/a.png", "a.png"]),
        ([], []),
    ],
)
def test_paths_are_shortened_to_their_distinct_parts(names: list[str], shown: list[str]) -> None:
    assert short_names(names) == shown


def test_montage_shows_folders_of_queries_with_equal_file_names(tmp_path: Path) -> None:
    Image.new("RGB", (160, 160), "pink").save(tmp_path / "a.png")
    near = Neighbour(rank=1, image_id="a", path="a.png", distance=0.1)
    queries = [(f"/where/{folder}/a.png", tmp_path / "a.png") for folder in ("s1", "s2", "s2")]
    picture = np.asarray(next(draw_pages(queries, [[near]] * 3, tmp_path)))
    first, second, third = np.split(picture[8 : 8 + 3 * 208, :168], 3)
    assert (first[:160] == second[:160]).all()
    assert (first != second).any()
    assert (second == third).all()


def test_montage_shows_distinct_ends_of_long_names(tmp_path: Path) -> None:
    Image.new("RGB", (160, 160), "pink").save(tmp_path / "a.png")
    ids = [f"slide-{slide}_of-a-hospital-with-a-long-name_0001.png" for slide in (1, 2)]
    near = [
        Neighbour(rank=1, image_id=image_id, path="a.png", distance=0.1) for image_id in (*ids, "a")
    ]
    picture = np.asarray(next(draw_pages([("q", None)] * 3, [[each] for each in near], tmp_path)))
    height = (len(picture) - 8) // 3
    first, second, third = np.split(picture[8 : 8 + 3 * height, 176:], 3)
    assert (first != second).any()
    # The frame of a tile takes as many lines as the longest name; a short one leaves them empty.
    assert height > 208
    assert (third[208:] == 255).all()
    assert not (first[195:] == 255).all()
