"""A heatmap of a class holds the probabilities of tiles whose group taught nothing."""

from pathlib import Path

import numpy as np
import pytest

import histo_index
from histo_index.api.index import Index
from histo_index.api.slides.heatmap import heatmap
from histo_index.errors import InputError
from histo_index.slides.overlay.draw import draw_heatmap
from histo_index.slides.reading.info import Bounds, SlideInfo
from histo_index.slides.tiling.grid import Grid

SLIDES, TILES = 8, 12


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Eight slides of eight patients; every second tile is tumour; the last has no labels."""
    random = np.random.default_rng(5)
    is_tumour = np.arange(SLIDES * TILES) % 2 == 1
    vectors = random.normal(size=(SLIDES * TILES, 16)) + 6 * np.eye(16)[is_tumour.astype(int)]
    slides = [f"s{number}.svs" for number in range(SLIDES) for _ in range(TILES)]
    ids = [f"{slide}#x={64 * n},y=0,mpp=0.5,size=64" for n, slide in enumerate(slides)]
    labels = ["tumour" if flag else "stroma" for flag in is_tumour[:-TILES]] + [None] * TILES
    # A class of one patient has no probability.
    labels[0] = "rare"
    columns = {"slide_id": slides, "label": labels, "patient": [name[:2] for name in slides]}
    path = tmp_path_factory.mktemp("classes") / "x.hx"
    made = histo_index.from_embeddings(ids, vectors, path, columns, encoder="other")
    made.calibrate(labels="label", group="patient")
    return made


def test_values_are_the_probabilities_of_classify(index: Index) -> None:
    found = heatmap(index, slide="s7.svs", label="tumour")
    assert (found.meaning, found.limits) == ("probability of tumour", (0.0, 1.0))
    assert found.image_ids == [name for name in index if name.startswith("s7.svs")]
    answers = [answer.chance_of("tumour") for answer in index.classify(found.image_ids)]
    assert found.values.tolist() == [chance.probability for chance in answers if chance]
    assert found.values[1::2].min() > found.values[::2].max()


@pytest.mark.parametrize(
    ("slide", "label", "message"),
    [
        ("s1.svs", "tumour", r"s1.svs: 12 labelled tiles of its group took part in the calibra"),
        ("s7.svs", "fat", r"--class fat: is no class of the calibration; .*: stroma, tumour"),
        ("s7.svs", "rare", r"--class rare: occurs in one group only of the calibration; pass one"),
    ],
)
def test_probabilities_that_would_be_untrue_are_refused(
    index: Index, slide: str, label: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        heatmap(index, slide=slide, label=label)


def test_examples_and_a_class_do_not_go_together(index: Index) -> None:
    tile = next(iter(index))
    for examples, label in (([tile], "tumour"), ([], None)):
        with pytest.raises(InputError, match="expected example tiles or --class, one of the two"):
            heatmap(index, examples, slide="s7.svs", label=label)
    with pytest.raises(InputError, match="--unlike goes with example tiles, not with --class"):
        heatmap(index, slide="s7.svs", label="tumour", unlike=[tile])


def test_an_index_without_classes_names_the_command(index: Index, tmp_path: Path) -> None:
    columns = index.table(["slide_id"]).to_pydict()
    plain = histo_index.from_embeddings(
        list(index), index.embeddings(), tmp_path / "y.hx", columns, encoder="other"
    )
    with pytest.raises(InputError, match=r"no class model: run `histo-index calibrate --labels"):
        heatmap(plain, slide="s7.svs", label="tumour")


def test_colours_of_probabilities_reach_from_0_to_1() -> None:
    info = SlideInfo(
        path="", reader="", vendor="", levels=(), scale=None, associated=(), problems=(),
        bounds=Bounds(x=0, y=0, width=64, height=32),
    )  # fmt: skip
    grid = Grid(x=np.array([0, 32]), y=np.array([0, 0]), width=32.0, height=32.0)
    picture = np.full((32, 64, 3), 100, np.uint8)
    values = np.array([0.5, 0.5])
    drawn = draw_heatmap(picture, info, grid, values, title="x", limits=(0, 1))
    middle = np.asarray(drawn)[5, 5].astype(float)
    # Viridis at the middle, over grey.
    assert np.abs(middle - (0.45 * 100 + 0.55 * np.array([33, 145, 140]))).max() < 3
