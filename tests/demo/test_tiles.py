"""The synthetic tiles: repeatable, told apart by tissue and not by colour alone, well labelled."""

from __future__ import annotations

import csv
import itertools
from collections import Counter, defaultdict
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from histo_index.demo import tiles
from histo_index.demo.tiles import CATEGORIES, Stain, render_tile, write_tiles

Pixels = npt.NDArray[np.uint8]

SEEDS = (0, 1, 2)
COLUMNS = ["path", "label", "group", "mpp"]


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Pixels]]:
    """Three tiles of every category under the standard stain."""
    return {name: [render_tile(name, seed=seed) for seed in SEEDS] for name in CATEGORIES}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 64 small tiles on 4 slides; gives the path of its labels.csv."""
    folder = tmp_path_factory.mktemp("tiles") / "set"
    return write_tiles(folder, tiles_per_category=8, slides=4, seed=5, size_px=128)


def read_rows(labels_path: Path) -> list[dict[str, str]]:
    with labels_path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def dye_amounts(tile: Pixels) -> tuple[float, float]:
    """Measure mean hematoxylin and eosin by undoing Beer-Lambert with the standard stain."""
    stain = Stain()
    light = np.clip(tile.astype(np.float64), 1, None) / np.array(stain.glass)
    density = -np.log10(light).reshape(-1, 3).mean(axis=0)
    dyes = np.array([stain.hematoxylin, stain.eosin])
    hematoxylin, eosin = np.linalg.lstsq(dyes.T, density, rcond=None)[0].tolist()
    return hematoxylin, eosin


def near_white_share(tile: Pixels) -> float:
    return float(np.mean(tile.min(axis=2) > 205))


def alignment(tile: Pixels) -> float:
    """Measure how parallel the edges run: 0 all directions alike, 1 one direction."""
    slope_y, slope_x = np.gradient(tile.mean(axis=2))
    xx, yy, xy = (float(np.mean(p)) for p in (slope_x**2, slope_y**2, slope_x * slope_y))
    return float(np.hypot(xx - yy, 2 * xy) / (xx + yy))


def test_categories_are_the_eight_promised_in_order() -> None:
    assert CATEGORIES == (
        "glands",
        "stroma",
        "lymphocytes",
        "fat",
        "muscle",
        "mucus",
        "necrosis",
        "background",
    )


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("size_px", [32, 100, 300])
def test_tile_is_rgb_of_the_requested_size(category: str, size_px: int) -> None:
    tile = render_tile(category, seed=3, size_px=size_px)
    assert tile.dtype == np.uint8
    assert tile.shape == (size_px, size_px, 3)


@pytest.mark.parametrize("category", CATEGORIES)
def test_equal_seeds_render_equal_pixels(category: str, samples: dict[str, list[Pixels]]) -> None:
    np.testing.assert_array_equal(render_tile(category, seed=SEEDS[1]), samples[category][1])


def test_no_stain_means_the_standard_stain() -> None:
    tile = render_tile("glands", seed=4, size_px=64)
    np.testing.assert_array_equal(tile, render_tile("glands", seed=4, size_px=64, stain=Stain()))


# Mean difference in grey levels; two photographs of one piece of tissue with this
# camera noise differ by about 2. Two empty glasses have little to differ in.
@pytest.mark.parametrize(
    ("category", "least"), [(name, 2.5 if name == "background" else 10.0) for name in CATEGORIES]
)
def test_tiles_of_a_category_are_not_near_copies(
    category: str, least: float, samples: dict[str, list[Pixels]]
) -> None:
    for left, right in itertools.combinations(samples[category], 2):
        assert np.abs(left.astype(np.int64) - right).mean() > least


def test_background_is_brightest_and_fat_comes_next(samples: dict[str, list[Pixels]]) -> None:
    brightness = {name: float(np.mean(pictures)) for name, pictures in samples.items()}
    order = sorted(brightness, key=lambda name: -brightness[name])
    assert order[:3] == ["background", "fat", "mucus"]
    assert brightness["background"] > 225


def test_lymphocytes_hold_the_most_hematoxylin(samples: dict[str, list[Pixels]]) -> None:
    amounts = {
        name: float(np.mean([dye_amounts(tile)[0] for tile in pictures]))
        for name, pictures in samples.items()
    }
    order = sorted(amounts, key=lambda name: -amounts[name])
    assert order[:2] == ["lymphocytes", "glands"]
    assert amounts["lymphocytes"] > 0.4


def test_muscle_holds_the_most_eosin_and_mucus_little(samples: dict[str, list[Pixels]]) -> None:
    amounts = {name: [dye_amounts(tile)[1] for tile in samples[name]] for name in samples}
    means = {name: float(np.mean(values)) for name, values in amounts.items()}
    assert max(means, key=lambda name: means[name]) == "muscle"
    assert min(amounts["muscle"]) > 3 * max(amounts["mucus"])


def test_mucus_is_bluish(samples: dict[str, list[Pixels]]) -> None:
    for tile in samples["mucus"]:
        red, green, blue = tile.reshape(-1, 3).mean(axis=0)
        assert blue > red > green > 150


def test_fat_is_mostly_empty_and_other_tissue_is_not(samples: dict[str, list[Pixels]]) -> None:
    for tile in samples["fat"]:
        assert 0.7 < near_white_share(tile) < 0.96
    for category in set(CATEGORIES) - {"fat", "background"}:
        for tile in samples[category]:
            assert near_white_share(tile) < 0.3


def test_glands_have_both_dark_nuclei_and_a_pale_lumen(samples: dict[str, list[Pixels]]) -> None:
    for tile in samples["glands"]:
        assert near_white_share(tile) > 0.01
        assert np.mean(tile[..., 0] < 110) > 0.15


def test_only_fibres_run_in_one_direction(samples: dict[str, list[Pixels]]) -> None:
    def span(category: str) -> tuple[float, float]:
        values = [alignment(tile) for tile in samples[category]]
        return min(values), max(values)

    assert span("muscle")[0] > span("stroma")[1]
    assert span("stroma")[0] > 0.35
    for category in ("glands", "lymphocytes", "necrosis"):
        assert span(category)[1] < 0.2


def test_a_slide_keeps_its_stain_and_cannot_change_it() -> None:
    stain = Stain.of_slide(7)
    assert stain == Stain.of_slide(7)
    with pytest.raises(FrozenInstanceError):
        stain.noise = 0.0  # type: ignore[misc]


def test_stains_differ_between_slides() -> None:
    stains = [Stain.of_slide(seed) for seed in range(20)]
    vectors = np.array([[*stain.hematoxylin, *stain.eosin, *stain.glass] for stain in stains])
    gaps = np.abs(vectors[:, None] - vectors[None]).max(axis=2)
    assert gaps[~np.eye(20, dtype=bool)].min() > 0.1
    strengths = np.linalg.norm(vectors[:, 3:6], axis=1)
    assert 0.4 <= strengths.min() < 0.5
    assert 0.75 < strengths.max() <= 0.85


def test_the_same_tissue_changes_colour_with_the_slide() -> None:
    colours = [
        render_tile("muscle", seed=1, size_px=96, stain=Stain.of_slide(slide)).mean(axis=(0, 1))
        for slide in range(4)
    ]
    for left, right in itertools.combinations(colours, 2):
        assert np.abs(left - right).max() > 4


def test_colour_alone_does_not_separate_the_categories(written: Path) -> None:
    rows = read_rows(written)
    colours = np.array([read_pixels(written.parent / r["path"]).mean(axis=(0, 1)) for r in rows])
    labels = np.array([row["label"] for row in rows])
    slides = np.array([row["group"] for row in rows])
    distances = ((colours[:, None] - colours[None]) ** 2).sum(axis=2)
    distances[slides[:, None] == slides[None]] = np.inf
    right = float(np.mean(labels[distances.argmin(axis=1)] == labels))
    # Guessing is right 1 time in 8; colour helps, as it does with real slides.
    assert 0.25 < right < 0.85


def test_labels_csv_names_exactly_the_files_written(written: Path) -> None:
    rows = read_rows(written)
    folder = written.parent
    assert written == folder / "labels.csv"
    assert written.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    expected = [
        f"slide-{slide:02d}/{number:04d}.png" for slide in range(1, 5) for number in range(1, 17)
    ]
    assert [row["path"] for row in rows] == expected
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == expected
    for row in rows:
        assert row["group"] == row["path"].split("/")[0]
        assert row["mpp"] == "0.5"
        assert read_pixels(folder / row["path"]).shape == (128, 128, 3)


def test_labels_and_stains_belong_to_the_pixels_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, int, Stain]] = []

    def draw_call_number(category: str, *, seed: int, size_px: int, stain: Stain) -> Pixels:
        drawn.append((category, seed, stain))
        return np.full((size_px, size_px, 3), len(drawn) - 1, dtype=np.uint8)

    monkeypatch.setattr(tiles, "render_tile", draw_call_number)
    labels_path = write_tiles(tmp_path, tiles_per_category=3, slides=5, size_px=32)
    stains = defaultdict(set)
    for row in read_rows(labels_path):
        category, _, stain = drawn[int(read_pixels(tmp_path / row["path"])[0, 0, 0])]
        assert row["label"] == category
        stains[row["group"]].add(stain)
    assert len(drawn) == len({seed for _, seed, _ in drawn}) == 24
    assert [len(found) for found in stains.values()] == [1] * 5
    assert len(set.union(*stains.values())) == 5


def test_written_tile_equals_the_rendered_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Pixels] = []

    def keep(category: str, *, seed: int, size_px: int, stain: Stain) -> Pixels:
        rendered.append(render_tile(category, seed=seed, size_px=size_px, stain=stain))
        return rendered[-1]

    monkeypatch.setattr(tiles, "render_tile", keep)
    rows = read_rows(write_tiles(tmp_path, tiles_per_category=1, slides=2, size_px=48))
    for row, pixels in zip(rows, rendered, strict=True):
        np.testing.assert_array_equal(read_pixels(tmp_path / row["path"]), pixels)


@pytest.mark.parametrize(("per_category", "slides"), [(8, 4), (5, 3), (2, 8)])
def test_categories_are_spread_evenly_over_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_category: int, slides: int
) -> None:
    blank = np.zeros((32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(tiles, "render_tile", lambda *_, **__: blank)
    labels_path = write_tiles(tmp_path, tiles_per_category=per_category, slides=slides, size_px=32)
    rows = read_rows(labels_path)
    assert Counter(row["label"] for row in rows) == dict.fromkeys(CATEGORIES, per_category)
    tiles_on = Counter(row["group"] for row in rows)
    assert len(tiles_on) == slides
    assert max(tiles_on.values()) - min(tiles_on.values()) <= 1
    cells = Counter((row["label"], row["group"]) for row in rows)
    counts = [cells[label, group] for label in CATEGORIES for group in tiles_on]
    assert max(counts) - min(counts) <= 1


def test_file_numbers_do_not_follow_the_category(written: Path) -> None:
    orders = defaultdict(list)
    for row in read_rows(written):
        orders[row["group"]].append(row["label"])
    for order in orders.values():
        assert sum(left == right for left, right in itertools.pairwise(order)) < 8
    assert len({tuple(order) for order in orders.values()}) == len(orders)


def test_the_same_arguments_write_the_same_set(tmp_path: Path) -> None:
    sets = []
    for name in ("a", "b"):
        path = write_tiles(tmp_path / name, tiles_per_category=1, slides=2, seed=3, size_px=32)
        pixels = np.stack([read_pixels(path.parent / row["path"]) for row in read_rows(path)])
        sets.append((path.read_bytes(), pixels))
    assert sets[0][0] == sets[1][0]
    np.testing.assert_array_equal(sets[0][1], sets[1][1])


def test_another_seed_gives_other_tissue_on_other_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tissues: list[int] = []
    stains: list[Stain] = []

    def record(category: str, *, seed: int, size_px: int, stain: Stain) -> Pixels:
        tissues.append(seed)
        stains.append(stain)
        return np.zeros((size_px, size_px, 3), dtype=np.uint8)

    monkeypatch.setattr(tiles, "render_tile", record)
    for seed in range(3):
        write_tiles(tmp_path / str(seed), tiles_per_category=2, slides=4, seed=seed, size_px=32)
    assert len(set(tissues)) == len(tissues) == 3 * 16
    assert len(set(stains)) == 3 * 4


def test_an_unknown_category_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError) as caught:
        render_tile("bone", seed=0)
    assert str(caught.value) == (
        "category 'bone' is unknown; expected one of glands, stroma, lymphocytes, fat, "
        "muscle, mucus, necrosis, background"
    )


def test_too_small_a_tile_and_a_negative_seed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^size_px is 31; expected 32 or more$"):
        render_tile("fat", seed=0, size_px=31)
    with pytest.raises(ValueError, match=r"^seed is -1; expected 0 or more$"):
        render_tile("fat", seed=-1)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("tiles_per_category", 0, 1), ("slides", 0, 1), ("seed", -1, 0), ("size_px", 31, 32)],
)
def test_numbers_that_are_too_small_are_refused_before_anything_is_written(
    tmp_path: Path, name: str, value: int, least: int
) -> None:
    folder = tmp_path / "set"
    with pytest.raises(ValueError, match=rf"^{name} is {value}; expected {least} or more$"):
        write_tiles(folder, **{name: value})
    assert not folder.exists()


def test_a_folder_that_holds_labels_is_refused_and_left_alone(tmp_path: Path) -> None:
    labels_path = tmp_path / "labels.csv"
    labels_path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        write_tiles(tmp_path, tiles_per_category=1, slides=1, size_px=32)
    assert str(caught.value) == (
        f"{labels_path} already exists; give another folder or delete this one"
    )
    assert labels_path.read_text(encoding="utf-8") == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
