"""The distance of an index: fitted once, kept, fitted again on request, refused when damaged."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from histo_index.api.info import index_facts
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.format.manifest import Manifest, read_manifest
from histo_index.indexer.format.records import FittedDistance
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.compact import compact
from histo_index.indexer.removal.remove import remove_tiles
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES
from histo_index.indexer.writing import commit
from histo_index.indexer.writing.commit import reindex
from histo_index.search.inputs.resolve import vectors_of
from tests.indexer.fakes import (
    FakeEncoder,
    embedding_of,
    flip,
    leftovers,
    numbered,
    run_build,
    write_tiles,
)

TILES = 120


@pytest.fixture
def encoder(tmp_path: Path) -> FakeEncoder:
    return FakeEncoder(folder=tmp_path / "fake-encoder")


@pytest.fixture
def fitted(tmp_path: Path, encoder: FakeEncoder) -> Path:
    """An index of 120 tiles with fitted distances; its tiles lie in `tiles` beside it."""
    tiles = write_tiles(tmp_path / "tiles", numbered(TILES))
    run_build(tmp_path / "tiles.hx", encoder, tiles, distance="diffused", shard_rows=50)
    return tmp_path / "tiles.hx"


def fit_of(manifest: Manifest) -> FittedDistance:
    assert manifest.distance is not None
    return manifest.distance


def stored_vectors(folder: Path) -> dict[str, bytes]:
    index = OpenIndex(folder)
    vectors = index.vectors(np.arange(len(index)))
    names = index.rows["image_id"].to_pylist()
    return {name: vector.tobytes() for name, vector in zip(names, vectors, strict=True)}


def test_vectors_are_made_of_the_embeddings_and_shards_hold_these(fitted: Path) -> None:
    names = numbered(TILES)
    contents = [(fitted.parent / "tiles" / name).read_bytes() for name in names]
    plain = np.array([embedding_of(content) for content in contents]).astype(np.float16)
    transform = fit_diffusion(plain)
    expected = transform.apply(plain).astype(np.float16)
    assert stored_vectors(fitted) == {
        name: vector.tobytes() for name, vector in zip(names, expected, strict=True)
    }
    manifest = read_manifest(fitted)
    size = plain.shape[1] + 24
    assert manifest.distance == FittedDistance(
        name="diffused", tiles=TILES, fitted_on=TILES, size=size
    )
    assert manifest.vector_size == size
    assert index_facts(fitted, verify=True)["distance"] == "diffused, fitted on 120 tiles"
    assert leftovers(fitted) == []


def test_of_equal_tiles_one_is_fitted_on(fitted: Path, encoder: FakeEncoder) -> None:
    before = stored_vectors(fitted)
    blank = (fitted.parent / "tiles" / "t0000.png").read_bytes()
    for number in range(200):
        (fitted.parent / "tiles" / f"v{number:04d}.png").write_bytes(blank)
    run_build(fitted, encoder, fitted.parent / "tiles")
    assert fit_of(reindex(fitted, distance="diffused")).fitted_on == TILES
    after = stored_vectors(fitted)
    assert len(after) == TILES + 200
    assert before.items() <= after.items()


def test_an_image_outside_is_turned_as_it_would_be_inside(fitted: Path) -> None:
    index = OpenIndex(fitted)
    content = (fitted.parent / "tiles" / "t0007.png").read_bytes()
    found = vectors_of(index, embedding_of(content)[None])
    np.testing.assert_array_equal(found, index.vectors(np.array([7])))


def test_distances_of_old_tiles_stay_when_others_come_and_go(
    fitted: Path, encoder: FakeEncoder
) -> None:
    before, name = stored_vectors(fitted), read_manifest(fitted).distance_name
    tiles = write_tiles(fitted.parent / "tiles", numbered(80, start=TILES))
    run_build(fitted, encoder, tiles)
    after = stored_vectors(fitted)
    assert len(after) == TILES + 80
    assert {key: after[key] for key in before} == before
    remove_tiles(fitted, OpenIndex(fitted).rows.slice(0, 150))
    compact(fitted)
    left = stored_vectors(fitted)
    assert len(left) == 50 < FEWEST_TILES
    assert left == {key: after[key] for key in left}
    assert read_manifest(fitted).distance_name == name


def test_search_files_that_were_deleted_are_made_again_as_they_were(fitted: Path) -> None:
    before = stored_vectors(fitted)
    shutil.rmtree(fitted / "search")
    reindex(fitted)
    assert stored_vectors(fitted) == before
    assert leftovers(fitted) == []


def test_warns_when_another_distance_voids_the_calibration(
    fitted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = fitted / "calibration.json"
    calibration.write_text("{}")
    reindex(fitted, distance="diffused")
    assert not caplog.records  # fitted to the same tiles it is the same
    reindex(fitted, distance="plain")
    assert [record.getMessage() for record in caplog.records] == [
        f"{calibration}: stale: fitted to the distances before; run `histo-index calibrate` again, "
        "or `histo-index calibrate --clear`"
    ]


def test_reindex_changes_the_distance_and_back_and_leaves_nothing_behind(fitted: Path) -> None:
    before = stored_vectors(fitted)
    assert reindex(fitted, distance="plain").distance_name == "plain"
    plain = stored_vectors(fitted)
    assert plain != before
    assert not list(fitted.glob("transform-*"))
    assert reindex(fitted).distance_name == "plain"
    assert fit_of(reindex(fitted, distance="diffused")).tiles == TILES
    assert stored_vectors(fitted) == before
    assert leftovers(fitted) == []


def test_an_unchanged_build_makes_no_new_generation(fitted: Path, encoder: FakeEncoder) -> None:
    run_build(fitted, encoder, fitted.parent / "tiles", shard_rows=50)
    assert read_manifest(fitted).generation == 1


def test_a_small_index_is_plain_until_it_has_tiles_enough(
    tmp_path: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tiles, output = write_tiles(tmp_path / "tiles", numbered(99)), tmp_path / "tiles.hx"
    run_build(output, encoder, tiles, distance="diffused")
    assert read_manifest(output).distance is None
    assert "distances are plain: 99 tiles, too few to fit diffused ones, which takes 100" in (
        caplog.messages
    )
    run_build(output, encoder, write_tiles(tiles, ["more.png"]))
    assert read_manifest(output).distance_name.startswith("diffused ")
    assert fit_of(read_manifest(output)).fitted_on == 100


def test_a_calibrated_index_stays_as_it_is(tmp_path: Path, encoder: FakeEncoder) -> None:
    tiles, output = write_tiles(tmp_path / "tiles", numbered(20)), tmp_path / "tiles.hx"
    run_build(output, encoder, tiles, distance="diffused")
    (output / "calibration.json").write_text("{}")
    run_build(output, encoder, write_tiles(tiles, numbered(TILES)))
    assert read_manifest(output).distance_name == "plain"
    assert reindex(output, distance="diffused").distance_name != "plain"


def test_build_keeps_the_distance_of_a_calibrated_index(
    fitted: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    reindex(fitted, distance="plain")
    caplog.set_level(logging.INFO)
    before = stored_vectors(fitted)
    (fitted / "calibration.json").write_text(json.dumps({"distance": "plain"}))
    tiles = write_tiles(fitted.parent / "tiles", ["more.png"])
    run_build(fitted, encoder, tiles, distance="diffused")
    assert read_manifest(fitted).distance_name == "plain"
    assert before.items() <= stored_vectors(fitted).items()
    assert "distances stay plain: the index is calibrated; see `reindex --distance`" in (
        caplog.messages
    )
    (fitted / "calibration.json").unlink()
    run_build(fitted, encoder, write_tiles(tiles, ["again.png"]), distance="diffused")
    assert read_manifest(fitted).distance_name.startswith("diffused ")


def test_a_calibrated_index_that_became_small_keeps_its_distance(
    fitted: Path, encoder: FakeEncoder
) -> None:
    name = read_manifest(fitted).distance_name
    remove_tiles(fitted, OpenIndex(fitted).rows.slice(0, 70))
    compact(fitted)
    (fitted / "calibration.json").write_text(json.dumps({"distance": name}))
    tiles = write_tiles(fitted.parent / "tiles", ["more.png"])
    run_build(fitted, encoder, tiles)
    manifest = read_manifest(fitted)
    assert (manifest.tiles, manifest.distance_name) == (51, name)


def test_encoder_with_only_a_plain_threshold_is_plain_by_default(
    tmp_path: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tiles = write_tiles(tmp_path / "tiles", numbered(TILES))
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    assert read_manifest(tmp_path / "tiles.hx").distance_name == "plain"
    assert (
        "distances are plain: the encoder publishes no threshold for diffused ones; pass "
        "--distance diffused to have them all the same"
    ) in caplog.messages


def test_grown_index_is_reported(
    fitted: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = write_tiles(fitted.parent / "tiles", numbered(4 * TILES - 1))
    run_build(fitted, encoder, tiles, shard_rows=500)
    assert caplog.messages == []
    run_build(fitted, encoder, write_tiles(tiles, ["last.png"]), shard_rows=500)
    assert caplog.messages == [
        "480 tiles, but distances were fitted when there were 120; `histo-index reindex "
        "--distance diffused` fits them again; recalibrate afterwards"
    ]


def test_damaged_transform_is_refused_and_can_be_fitted_again(
    fitted: Path, encoder: FakeEncoder
) -> None:
    before = stored_vectors(fitted)
    path = fitted / "transform-000001.npz"
    flip(path, 8 * 200)
    uses: tuple[Callable[[], object], ...] = (
        lambda: OpenIndex(fitted).transform,
        lambda: reindex(fitted),
        lambda: index_facts(fitted, verify=True),
    )
    for use in uses:
        with pytest.raises(
            IndexFormatError,
            match=r"transform-000001.npz: damaged: checksum .*--distance diffused`",
        ):
            use()
    assert stored_vectors(fitted) == before
    reindex(fitted, distance="diffused")
    assert stored_vectors(fitted) == before
    path = fitted / read_manifest(fitted).files["transform"].path
    path.unlink()
    for use in uses[1:]:
        with pytest.raises(IndexFormatError, match=r"transform-000002.npz: .*--distance diffused`"):
            use()


@pytest.mark.parametrize("change", ["build", "reindex"])
def test_a_transform_of_a_killed_commit_is_cleared_away(
    fitted: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = stored_vectors(fitted)

    def die(folder: Path, manifest: Manifest) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commit, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            reindex(fitted, distance="diffused")
    assert "transform-000002.npz" in leftovers(fitted)
    assert stored_vectors(fitted) == before
    if change == "build":
        run_build(fitted, encoder, fitted.parent / "tiles", shard_rows=50)
    else:
        reindex(fitted)
    assert leftovers(fitted) == []
    assert stored_vectors(fitted) == before


def test_index_without_manifest_is_fitted_again_for_its_calibration(
    fitted: Path, encoder: FakeEncoder
) -> None:
    before, name = stored_vectors(fitted), read_manifest(fitted).distance_name
    (fitted / "calibration.json").write_text(json.dumps({"distance": name}))
    (fitted / "manifest.json").unlink()
    tiles = fitted.parent / "tiles"
    assert run_build(fitted, encoder, tiles, shard_rows=50).encoded == 0
    assert read_manifest(fitted).distance_name == name
    assert stored_vectors(fitted) == before


def test_an_unknown_distance_is_refused(fitted: Path, encoder: FakeEncoder) -> None:
    expected = "distance 'white' is unknown; expected diffused or plain"
    with pytest.raises(InputError, match=expected):
        reindex(fitted, distance="white")
    with pytest.raises(InputError, match="distance 'white' is unknown"):
        run_build(fitted, encoder, fitted.parent / "tiles", distance="white")
