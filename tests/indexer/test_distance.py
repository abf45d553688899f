"""The distance of an index: fitted once, kept, made anew on request, and refused when damaged."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer import commit
from histo_index.indexer.commit import reindex
from histo_index.indexer.distance import FEWEST_TILES
from histo_index.indexer.manifest import Manifest, read_manifest
from histo_index.indexer.opened import OpenIndex
from histo_index.indexer.removal import compact, remove_tiles
from histo_index.indexer.whitening import fit_whitening
from histo_index.inspection import index_facts
from histo_index.search.resolving import vectors_of
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
def whitened(tmp_path: Path, encoder: FakeEncoder) -> Path:
    """An index of 120 tiles with whitened distances; its tiles lie in `tiles` beside it."""
    tiles = write_tiles(tmp_path / "tiles", numbered(TILES))
    run_build(tmp_path / "tiles.hx", encoder, tiles, distance="whitened", shard_rows=50)
    return tmp_path / "tiles.hx"


def stored_vectors(folder: Path) -> dict[str, bytes]:
    index = OpenIndex(folder)
    vectors = index.vectors(np.arange(len(index)))
    names = index.rows["image_id"].to_pylist()
    return {name: vector.tobytes() for name, vector in zip(names, vectors, strict=True)}


def test_vectors_are_the_whitened_embeddings_and_shards_the_plain_ones(whitened: Path) -> None:
    names = numbered(TILES)
    contents = [(whitened.parent / "tiles" / name).read_bytes() for name in names]
    plain = np.array([embedding_of(content) for content in contents]).astype(np.float16)
    expected = fit_whitening(plain).apply(plain).astype(np.float16)
    assert stored_vectors(whitened) == {
        name: vector.tobytes() for name, vector in zip(names, expected, strict=True)
    }
    manifest = read_manifest(whitened)
    assert manifest.distance == {"name": "whitened", "tiles": TILES, "fitted_on": TILES}
    assert index_facts(whitened, verify=True)["distance"] == "whitened, fitted on 120 tiles"
    assert leftovers(whitened) == []


def test_an_image_outside_is_turned_as_it_would_be_inside(whitened: Path) -> None:
    index = OpenIndex(whitened)
    content = (whitened.parent / "tiles" / "t0007.png").read_bytes()
    found = vectors_of(index, embedding_of(content)[None])
    np.testing.assert_array_equal(found, index.vectors(np.array([7])))


def test_distances_of_old_tiles_stay_when_others_come_and_go(
    whitened: Path, encoder: FakeEncoder
) -> None:
    before, name = stored_vectors(whitened), read_manifest(whitened).distance_name
    tiles = write_tiles(whitened.parent / "tiles", numbered(80, start=TILES))
    run_build(whitened, encoder, tiles)
    after = stored_vectors(whitened)
    assert len(after) == TILES + 80
    assert {key: after[key] for key in before} == before
    remove_tiles(whitened, OpenIndex(whitened).rows.slice(0, 150))
    compact(whitened)
    left = stored_vectors(whitened)
    assert len(left) == 50 < FEWEST_TILES
    assert left == {key: after[key] for key in left}
    assert read_manifest(whitened).distance_name == name


def test_search_files_that_were_deleted_are_made_again_as_they_were(whitened: Path) -> None:
    before = stored_vectors(whitened)
    shutil.rmtree(whitened / "search")
    reindex(whitened)
    assert stored_vectors(whitened) == before
    assert leftovers(whitened) == []


def test_a_calibration_that_another_distance_voids_is_told_of(
    whitened: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = whitened / "calibration.json"
    calibration.write_text("{}")
    reindex(whitened, distance="whitened")
    assert not caplog.records  # fitted to the same tiles it is the same
    reindex(whitened, distance="plain")
    assert [record.getMessage() for record in caplog.records] == [
        f"{calibration} was fitted to the distances before; run `histo-index calibrate` again"
    ]


def test_reindex_changes_the_distance_and_back_and_leaves_nothing_behind(whitened: Path) -> None:
    before = stored_vectors(whitened)
    assert reindex(whitened, distance="plain").distance_name == "plain"
    plain = stored_vectors(whitened)
    assert plain != before
    assert not list(whitened.glob("whitening-*"))
    assert reindex(whitened).distance_name == "plain"
    assert reindex(whitened, distance="whitened").distance["tiles"] == TILES
    assert stored_vectors(whitened) == before
    assert leftovers(whitened) == []


def test_an_unchanged_build_makes_no_new_generation(whitened: Path, encoder: FakeEncoder) -> None:
    run_build(whitened, encoder, whitened.parent / "tiles", shard_rows=50)
    assert read_manifest(whitened).generation == 1


def test_a_small_index_is_plain_until_it_has_tiles_enough(
    tmp_path: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tiles, output = write_tiles(tmp_path / "tiles", numbered(99)), tmp_path / "tiles.hx"
    run_build(output, encoder, tiles, distance="whitened")
    assert read_manifest(output).distance == {"name": "plain"}
    assert "distances are plain: 99 tiles are too few to fit whitened ones, which takes 100" in (
        caplog.messages
    )
    run_build(output, encoder, write_tiles(tiles, ["more.png"]))
    assert read_manifest(output).distance == {"name": "whitened", "tiles": 100, "fitted_on": 100}


def test_a_calibrated_index_stays_as_it_is(tmp_path: Path, encoder: FakeEncoder) -> None:
    tiles, output = write_tiles(tmp_path / "tiles", numbered(20)), tmp_path / "tiles.hx"
    run_build(output, encoder, tiles, distance="whitened")
    (output / "calibration.json").write_text("{}")
    run_build(output, encoder, write_tiles(tiles, numbered(TILES)))
    assert read_manifest(output).distance_name == "plain"
    assert reindex(output, distance="whitened").distance_name != "plain"


def test_an_encoder_with_a_plain_threshold_only_is_plain_unless_asked(
    tmp_path: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tiles = write_tiles(tmp_path / "tiles", numbered(TILES))
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    assert read_manifest(tmp_path / "tiles.hx").distance_name == "plain"
    assert (
        "distances are plain: the encoder publishes no threshold for whitened ones; pass "
        "--distance whitened to have them all the same"
    ) in caplog.messages


def test_an_index_that_has_grown_says_so(
    whitened: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = write_tiles(whitened.parent / "tiles", numbered(4 * TILES - 1))
    run_build(whitened, encoder, tiles, shard_rows=500)
    assert caplog.messages == []
    run_build(whitened, encoder, write_tiles(tiles, ["last.png"]), shard_rows=500)
    assert caplog.messages == [
        "480 tiles, but distances were fitted when there were 120; `histo-index reindex "
        "--distance whitened` fits them anew, and a calibration is then to be made again"
    ]


def test_a_damaged_whitening_is_refused_and_can_be_fitted_anew(
    whitened: Path, encoder: FakeEncoder
) -> None:
    before = stored_vectors(whitened)
    path = whitened / "whitening-000001.npy"
    flip(path, 8 * 200)
    for use in (
        lambda: OpenIndex(whitened).whitening,
        lambda: reindex(whitened),
        lambda: index_facts(whitened, verify=True),
    ):
        with pytest.raises(IndexFormatError, match=r"whitening-000001.npy: damaged: checksum .*"):
            use()
    assert stored_vectors(whitened) == before
    reindex(whitened, distance="whitened")
    assert stored_vectors(whitened) == before
    path = whitened / read_manifest(whitened).files["whitening"].path
    path.unlink()
    for use in (lambda: reindex(whitened), lambda: OpenIndex(whitened)):
        with pytest.raises(IndexFormatError, match=r"whitening-000002.npy: .*--distance whitened"):
            use()


@pytest.mark.parametrize("change", ["build", "reindex"])
def test_a_whitening_of_a_killed_commit_is_cleared_away(
    whitened: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = stored_vectors(whitened)

    def die(folder: Path, manifest: Manifest) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commit, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            reindex(whitened, distance="whitened")
    assert "whitening-000002.npy" in leftovers(whitened)
    assert stored_vectors(whitened) == before
    if change == "build":
        run_build(whitened, encoder, whitened.parent / "tiles", shard_rows=50)
    else:
        reindex(whitened)
    assert leftovers(whitened) == []
    assert stored_vectors(whitened) == before


def test_an_index_whose_manifest_is_lost_is_whitened_again_as_its_calibration_says(
    whitened: Path, encoder: FakeEncoder
) -> None:
    before, name = stored_vectors(whitened), read_manifest(whitened).distance_name
    (whitened / "calibration.json").write_text(json.dumps({"distance": name}))
    (whitened / "manifest.json").unlink()
    tiles = whitened.parent / "tiles"
    assert run_build(whitened, encoder, tiles, distance="whitened", shard_rows=50).encoded == 0
    assert read_manifest(whitened).distance_name == name
    assert stored_vectors(whitened) == before


def test_an_unknown_distance_is_refused(whitened: Path, encoder: FakeEncoder) -> None:
    with pytest.raises(InputError, match="distance 'white' is unknown; expected whitened or plain"):
        reindex(whitened, distance="white")
    with pytest.raises(InputError, match="distance 'white' is unknown"):
        run_build(whitened, encoder, whitened.parent / "tiles", distance="white")
