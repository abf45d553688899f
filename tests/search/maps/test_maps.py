"""Tiles that look alike lie together; later ones come beside them, and removed ones leave."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.api.features.export import export
from histo_index.api.maps.make import update_map
from histo_index.arrays import Float32
from histo_index.errors import IndexFormatError, InputError, MismatchError
from histo_index.files import remove_leftovers
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.format.manifest import MAP_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import Progress, listening
from histo_index.search.answers.removal import RemoveConfig, remove, restore
from histo_index.search.maps.file import erase_places, read_map, store_map
from histo_index.search.maps.make import FEWEST, MapConfig, places_of
from histo_index.search.maps.place import weighted_places
from histo_index.search.maps.tile_map import TileMap
from tests.vectors import NumberEncoder, build_numbered

# Three kinds of 16 tiles; then a tile of each kind that comes later, and a copy of the first.
KINDS, OF_KIND = 3, 16
COUNT = KINDS * OF_KIND
NAMES = [f"k{number // OF_KIND}/{number}.png" for number in range(COUNT)]


def vectors_of_kinds() -> Float32:
    generator = np.random.default_rng(0)
    kinds = [*np.repeat(np.arange(KINDS), OF_KIND), *range(KINDS)]
    found = np.eye(8, dtype=np.float32)[kinds] + 0.1 * generator.standard_normal((len(kinds), 8))
    unit: Float32 = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    build_numbered(folder, vectors_of_kinds(), NAMES)
    update_map(folder / "tiles.hx")
    return folder


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    """The index folder of a copy, with its map."""
    shutil.copytree(finished, tmp_path / "made")
    return tmp_path / "made" / "tiles.hx"


def build_again(folder: Path) -> None:
    encoder = NumberEncoder(vectors_of_kinds(), folder.parent / "encoder")
    manifest = folder.parent / "tiles" / "manifest.csv"
    build(BuildConfig(sources=[], output=folder, manifest=manifest), encoder)


def add_tiles(folder: Path, *numbers: int) -> None:
    tiles = folder.parent / "tiles"
    with (tiles / "manifest.csv").open("a") as manifest:
        for at, number in enumerate(numbers):
            (tiles / f"late-{at}.png").write_text(str(number))
            manifest.write(f"late-{at}.png\n")
    build_again(folder)


def stored(folder: Path) -> TileMap:
    found = read_map(folder)
    assert found is not None
    return found


def places(folder: Path) -> dict[str, tuple[float, float]]:
    """The place of each tile of the index, by its path."""
    index = OpenIndex(folder)
    found = places_of(index, stored(folder))
    paths = index.rows["path"].take(pa.array(found.rows)).to_pylist()
    return dict(zip(paths, map(tuple, found.points.tolist()), strict=True))


def centres(at: dict[str, tuple[float, float]]) -> Float32:
    return np.array(
        [np.mean([at[n] for n in NAMES if n.startswith(f"k{kind}/")], axis=0) for kind in range(3)],
        np.float32,
    )


def test_tiles_of_a_kind_lie_together(made: Path) -> None:
    at = places(made)
    points = np.array([at[name] for name in NAMES])
    gaps = ((points[:, None] - centres(at)[None]) ** 2).sum(axis=2)
    assert gaps.argmin(axis=1).tolist() == [n // OF_KIND for n in range(COUNT)]
    assert points.mean(axis=0) == pytest.approx([0, 0], abs=1e-4)


def test_a_map_records_what_made_it_and_the_distance_to_the_nearest_tile(made: Path) -> None:
    index, found = OpenIndex(made), stored(made)
    facts = found.facts
    assert re.fullmatch(r"t-SNE, openTSNE \d+\.\d+\.\d+", facts.method)
    assert facts.perplexity == pytest.approx(47 / 3)
    assert (facts.steps, facts.seed) == (750, 0)
    assert (facts.laid_out, facts.generation) == (COUNT, 1)
    assert (facts.fingerprint, facts.distance) == ("f" * 32, "plain")
    assert found.contents.to_pylist() == index.rows["sha256"].to_pylist()
    vectors = index.vectors(np.arange(COUNT)).astype(np.float64)
    gaps = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_allclose(found.nearest, gaps.min(axis=1), atol=1e-3)
    assert not found.is_placed.any()


def test_a_seed_gives_the_same_map_and_another_one_another(made: Path) -> None:
    first = stored(made).points
    assert update_map(made, MapConfig(seed=0), overwrite=True).is_new
    np.testing.assert_array_equal(stored(made).points, first)
    update_map(made, MapConfig(seed=1), overwrite=True)
    assert np.abs(stored(made).points - first).max() > 0.1


def test_a_map_that_is_there_is_kept_unless_it_is_to_be_overwritten(made: Path) -> None:
    before = (made / MAP_NAME).read_bytes()
    report = update_map(made)
    assert (report.is_new, report.tiles, report.placed) == (False, COUNT, 0)
    assert (made / MAP_NAME).read_bytes() == before
    message = f"{made} has a map already; pass --overwrite to lay its tiles out again"
    with pytest.raises(InputError, match=re.escape(message)):
        update_map(made, MapConfig(seed=3))


def test_places_are_averaged_by_inverse_distance() -> None:
    distances = np.array([[0.1, 0.2, np.inf], [0.0, 1.0, 1.0]], np.float32)
    neighbours = np.array([[[0, 0], [3, 6], [9, 9]], [[1, 1], [9, 9], [9, 9]]], np.float32)
    found = weighted_places(distances, neighbours)
    np.testing.assert_allclose(found, [[1, 2], [1, 1]], atol=3e-3)


def test_a_new_tile_is_placed_by_its_neighbours_and_no_other_moves(made: Path) -> None:
    before, centre = places(made), centres(places(made))
    add_tiles(made, COUNT, COUNT + 1, COUNT + 2, 0)
    after = places(made)
    assert {name: after[name] for name in NAMES} == before
    for kind in range(KINDS):
        gaps = ((np.array(after[f"late-{kind}.png"]) - centre) ** 2).sum(axis=1)
        assert gaps.argmin() == kind
    # A copy of a file has the place of that file.
    assert after["late-3.png"] == after["k0/0.png"]
    report = update_map(made)
    assert (report.is_new, report.tiles, report.placed) == (False, COUNT + KINDS, KINDS)
    assert stored(made).is_placed.tolist() == [False] * COUNT + [True] * KINDS
    assert places(made) == after


def test_a_removed_tile_vanishes_and_comes_back_where_it_was(made: Path) -> None:
    before = places(made)
    remove(OpenIndex(made), RemoveConfig(names=["k1/20.png", "k2/40.png"]))
    after = places(made)
    assert before.keys() - after.keys() == {"k1/20.png", "k2/40.png"}
    assert all(before[name] == after[name] for name in after)
    restore(made, everything=True)
    assert places(made) == before


def test_a_purge_erases_the_places_of_removed_tiles(made: Path) -> None:
    rows = OpenIndex(made).rows
    gone = rows["sha256"][rows["path"].to_pylist().index("k1/20.png")].as_py()
    assert gone in stored(made).contents.to_pylist()
    remove(OpenIndex(made), RemoveConfig(names=["k1/20.png"], purge=True))
    assert gone not in stored(made).contents.to_pylist()
    assert len(stored(made)) == COUNT - 1


def test_what_is_purged_while_a_map_is_made_does_not_come_back(made: Path) -> None:
    before = stored(made)
    remove(OpenIndex(made), RemoveConfig(names=["k1/20.png"], purge=True))
    store_map(made, before)
    assert len(stored(made)) == COUNT - 1


def test_a_build_that_begins_meanwhile_does_not_lose_the_map(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = stored(made), os.replace

    def rename_after_a_build_began(source: Path, target: Path) -> None:
        remove_leftovers(made)
        rename(source, target)

    monkeypatch.setattr(os, "replace", rename_after_a_build_began)
    store_map(made, before.select(~before.is_placed & (np.arange(len(before)) > 0)))
    assert len(stored(made)) == COUNT - 1


def test_what_a_killed_map_left_is_removed_by_the_next(made: Path) -> None:
    old, new = made / ".new-0a-map.parquet", made / ".new-0b-map.parquet"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    store_map(made, stored(made))
    assert (old.exists(), new.exists()) == (False, True)


def test_a_purge_erases_a_damaged_map_as_a_whole(made: Path) -> None:
    (made / MAP_NAME).write_bytes(b"PAR1 of nothing")
    assert erase_places(made, {"0" * 64}) == 0
    assert not (made / MAP_NAME).exists()


def test_damage_is_refused_by_the_name_of_the_file(made: Path) -> None:
    path, whole = made / MAP_NAME, stored(made)
    data = path.read_bytes()
    silent = []
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            silent.append(stored(made))
        except IndexFormatError as error:
            message = str(error)
        else:  # a byte that says nothing, such as who wrote the file
            continue
        assert message.startswith(f"{path}"), at
        assert "\n" not in message
    assert len(silent) < len(data) / 7 / 2
    for found in silent:
        assert found.facts == whole.facts
        np.testing.assert_array_equal(found.points, whole.points)
    for cut in (0, 3, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(IndexFormatError, match=f"{re.escape(str(path))}: damaged"):
            read_map(made)


def test_a_changed_value_is_refused(made: Path) -> None:
    path = made / MAP_NAME
    table = pq.ParquetFile(path).read(use_threads=False)
    moved = table.set_column(1, table.schema.field("x"), pa.array(np.zeros(COUNT, np.float32)))
    pq.write_table(moved, path)
    with pytest.raises(IndexFormatError, match=r"map\.parquet: damaged: checksum \w+, expected"):
        read_map(made)


def test_a_map_of_another_encoder_or_distance_is_not_used(made: Path) -> None:
    index, found = OpenIndex(made), stored(made)
    facts = replace(found.facts, distance="diffused 0123")
    other = replace(found, facts=facts)
    message = "the map was made for distances diffused, but the index has plain"
    with pytest.raises(MismatchError, match=message):
        places_of(index, other)
    foreign = replace(found, facts=replace(found.facts, fingerprint="0" * 32))
    with pytest.raises(MismatchError, match=r"made for encoder 0+, but the index has f+"):
        places_of(index, foreign)
    store_map(made, other)
    assert update_map(made).is_new


def test_beyond_the_most_tiles_are_placed(made: Path) -> None:
    report = update_map(made, MapConfig(most=24), overwrite=True)
    assert (report.tiles, report.placed, report.is_new) == (COUNT, COUNT - 24, True)
    assert report.perplexity == pytest.approx(23 / 3)
    at = places(made)
    gaps = ((np.array([at[n] for n in NAMES])[:, None] - centres(at)[None]) ** 2).sum(axis=2)
    assert gaps.argmin(axis=1).tolist() == [n // OF_KIND for n in range(COUNT)]


def test_progress_is_reported_to_its_end(made: Path) -> None:
    seen: list[Progress] = []
    with listening(seen.append):
        update_map(made, overwrite=True)
    steps = [state.done for state in seen if state.stage == "laying out"]
    assert steps == [0, *range(5, 755, 5)]
    ends = {state.stage: (state.done, state.total) for state in seen}
    assert ends == {"comparing": (COUNT, COUNT), "laying out": (750, 750)}


def test_too_few_tiles_are_refused_in_one_line(tmp_path: Path) -> None:
    folder, _ = build_numbered(tmp_path, vectors_of_kinds(), NAMES[: FEWEST - 1])
    message = f"{folder}: 15 different tiles; a map needs at least 16"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        update_map(folder)
    assert not (folder / MAP_NAME).exists()


def test_equal_tiles_can_be_laid_out(tmp_path: Path) -> None:
    equal = np.tile(np.eye(8, dtype=np.float32)[:1], (20, 1))
    folder, _ = build_numbered(tmp_path, equal, [f"{n}.png" for n in range(20)])
    update_map(folder)
    assert np.isfinite(stored(folder).points).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": float("nan")}, "--perplexity nan: expected 2 to 1000"),
        ({"most": 15}, "--most 15: expected at least 16"),
    ],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        MapConfig(**options)  # type: ignore[arg-type]


def test_the_map_goes_into_an_export_for_embedding_atlas(made: Path, tmp_path: Path) -> None:
    export(made, tmp_path / "tiles.parquet", atlas=True)
    table = pq.ParquetFile(tmp_path / "tiles.parquet").read(use_threads=False)
    found = np.stack([table["map_x"].to_numpy(), table["map_y"].to_numpy()], axis=1)
    np.testing.assert_array_equal(found, stored(made).points)
