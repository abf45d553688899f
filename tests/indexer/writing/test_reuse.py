"""A commit reuses search files of shards that stay: same bytes as a rebuild, no damage."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from histo_index.indexer.format.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    write_manifest,
)
from histo_index.indexer.format.records import AnnStructure, FileRecord, SearchConfig
from histo_index.indexer.format.shards import read_shard
from histo_index.indexer.format.signed_json import seal
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.compact import compact
from histo_index.indexer.removal.remove import remove_tiles
from histo_index.indexer.writing import search_files
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    flip,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)

ROLES: Final = ("rows", "vectors", "blocks")
CHOSEN: Final = SearchConfig(structure="PCA8,IVF8,SQ8", recall=0.9)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that search files are made from, as they are read."""
    names: list[str] = []

    def listen(folder: Path, record: FileRecord) -> Any:
        names.append(record.path)
        return read_shard(folder, record)

    monkeypatch.setattr(search_files, "read_shard", listen)
    return names


@pytest.fixture(scope="module")
def six_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 600 tiles and their index, in shards of 100: no whole blocks of 256."""
    folder = tmp_path_factory.mktemp("built")
    tiles = write_tiles(folder / "tiles", numbered(600))
    encoder = FakeEncoder(folder=folder / "fake-encoder")
    run_build(folder / "tiles.hx", encoder, tiles, shard_rows=100)
    return folder


@pytest.fixture
def built(tmp_path: Path, six_hundred: Path) -> Path:
    shutil.copytree(six_hundred, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiles.hx"


def add(built: Path, encoder: FakeEncoder, *names: str, **options: Any) -> Manifest:
    tiles = write_tiles(built.parent / "tiles", names)
    run_build(built, encoder, tiles, shard_rows=100, **options)
    return read_manifest(built)


def search_bytes(folder: Path) -> dict[str, bytes]:
    files = read_manifest(folder).files
    return {role: (folder / files[role].path).read_bytes() for role in ROLES}


def require_as_anew(folder: Path) -> None:
    """Compare the search files, byte for byte, with those that `reindex` makes of the shards."""
    before = search_bytes(folder)
    reindex(folder)
    assert search_bytes(folder) == before
    root = folder.parent / "tiles"
    names = sorted(path.name for path in root.iterdir())
    # Fake embeddings are what vectors are only where distances are plain.
    if read_manifest(folder).distance_kind == "plain":
        require_sound(folder, expected_rows(root, names))


def new_shards(folder: Path, before: Manifest) -> list[str]:
    old = {shard.shard_id for shard in before.shards}
    shards = read_manifest(folder).shards
    return [shard.file.path for shard in shards if shard.shard_id not in old]


@pytest.mark.parametrize("distance", ["plain", "diffused"])
@pytest.mark.parametrize("name", ["t0042-b.png", "t0599-b.png"], ids=["among", "after"])
def test_rebuild_with_a_new_tile_reuses_the_rest(
    tmp_path: Path, encoder: FakeEncoder, read: list[str], distance: str, name: str
) -> None:
    output = tmp_path / "tiles.hx"
    tiles = write_tiles(tmp_path / "tiles", numbered(330))
    run_build(output, encoder, tiles, shard_rows=100, distance=distance)
    before = read_manifest(output)
    read.clear()
    add(output, encoder, name)
    # The last shard, of 30 rows, joins the new one.
    assert read == new_shards(output, before)
    assert len(read) == 1
    assert read_manifest(output).shards[:3] == before.shards[:3]
    require_as_anew(output)


def test_shards_of_several_row_groups_and_the_users_columns_are_taken_over(
    tmp_path: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    output, tiles = tmp_path / "tiles.hx", write_tiles(tmp_path / "tiles", numbered(1501))
    listed, names = tmp_path / "list.csv", numbered(1501)

    def run(count: int) -> None:
        lines = [f"{name},{number % 7 or ''},ä" for number, name in enumerate(names[:count])]
        listed.write_text("\n".join(["path,site,embedding.x", *lines]) + "\n")
        run_build(output, encoder, tiles, manifest=listed, shard_rows=1400)

    run(1450)
    read.clear()
    run(1501)
    assert [shard.rows for shard in read_manifest(output).shards] == [1400, 101]
    assert len(read) == 1
    require_as_anew(output)
    assert OpenIndex(output).rows["embedding.x"].to_pylist() == ["ä"] * 1501


def test_shards_behind_one_that_went_are_taken_over(
    built: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    before = read_manifest(built)
    (built.parent / "tiles" / "t0123.png").unlink()
    add(built, encoder)
    assert read == new_shards(built, before)
    assert [shard.rows for shard in read_manifest(built).shards] == [100] * 5 + [99]
    assert read_manifest(built).shards[1:5] == before.shards[2:]
    require_as_anew(built)


def test_removed_tiles_are_compacted_without_the_other_shards(built: Path, read: list[str]) -> None:
    before = read_manifest(built)
    remove_tiles(built, OpenIndex(built).rows.slice(250, 1))
    compact(built)
    assert read == new_shards(built, before)
    assert len(read) == 1
    old = search_bytes(built)
    reindex(built)
    assert search_bytes(built) == old
    assert read_manifest(built).tiles == 599


@pytest.mark.parametrize(
    ("role", "bit", "shards"),
    [
        # Rows of the second block lie in the shards from the third on.
        ("vectors", 8 * (128 + 2 * 16 * 300), 5),
        ("rows", 8000, 7),
        ("blocks", 8 * 130, 7),
    ],
)
def test_damage_is_not_taken_over(
    built: Path,
    encoder: FakeEncoder,
    read: list[str],
    caplog: pytest.LogCaptureFixture,
    role: str,
    bit: int,
    shards: int,
) -> None:
    path = built / read_manifest(built).files[role].path
    flip(path, bit)
    add(built, encoder, "z.png")
    assert len(read) == shards
    (message,) = caplog.messages
    assert message.startswith(f"{path}: damaged")
    assert message.endswith("; rebuilt from the shards")
    require_as_anew(built)


@pytest.mark.parametrize("role", ROLES)
def test_missing_search_files_are_rebuilt_from_shards(
    built: Path, encoder: FakeEncoder, read: list[str], caplog: pytest.LogCaptureFixture, role: str
) -> None:
    path = built / read_manifest(built).files[role].path
    path.unlink()
    add(built, encoder, "z.png")
    assert len(read) == 7
    assert caplog.messages == [f"{path}: missing; rebuilt from the shards"]
    require_as_anew(built)


def test_other_distances_are_made_from_the_shards(
    built: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    add(built, encoder, "z.png", distance="diffused")
    assert len(read) == 7
    require_as_anew(built)
    reindex(built, distance="diffused")
    read.clear()
    add(built, encoder, "zz.png")
    assert len(read) == 1
    require_as_anew(built)


def _by_another_release(folder: Path) -> None:
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, libraries={**manifest.libraries, "numpy": "0"}))


def _by_an_older_format(folder: Path) -> None:
    body = asdict(read_manifest(folder))
    (folder / MANIFEST_NAME).write_bytes(seal("histo-index", body, version=FORMAT_VERSION - 1))


@pytest.mark.parametrize("age", [_by_another_release, _by_an_older_format])
def test_search_files_of_another_release_are_rebuilt_from_shards(
    built: Path, encoder: FakeEncoder, read: list[str], age: Callable[[Path], None]
) -> None:
    age(built)
    add(built, encoder, "z.png")
    assert len(read) == 7
    read.clear()
    add(built, encoder, "zz.png")
    assert len(read) == 1
    require_as_anew(built)


def test_reindexing_names_the_release_of_the_search_files(
    built: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    made_by = read_manifest(built).libraries
    _by_another_release(built)
    assert reindex(built).libraries == made_by
    read.clear()
    add(built, encoder, "z.png")
    assert len(read) == 1


def test_tiles_keep_their_rows_when_others_come(built: Path, encoder: FakeEncoder) -> None:
    before = OpenIndex(built)
    add(built, encoder, "a.png", "t0300-b.png")
    after = OpenIndex(built)
    assert after.rows["path"].to_pylist()[:600] == before.rows["path"].to_pylist()
    assert after.rows["path"].to_pylist()[600:] == ["a.png", "t0300-b.png"]


def structure_of(manifest: Manifest) -> AnnStructure:
    assert manifest.structure is not None
    return manifest.structure


def structured(built: Path, encoder: FakeEncoder, search: SearchConfig = CHOSEN) -> AnnStructure:
    return structure_of(add(built, encoder, search=search))


def recall(folder: Path) -> float:
    """Tell which share of its five nearest tiles the structure proposes for each."""
    index = OpenIndex(folder)
    vectors = index.vectors(np.arange(len(index))).astype(np.float32)
    found = index.structure.search(vectors, 5)
    nearest = np.argsort(-vectors @ vectors.T, axis=1, kind="stable")[:, :5]
    hits = [np.isin(near, own).mean() for near, own in zip(nearest, found, strict=True)]
    return float(np.mean(hits))


def test_ann_index_takes_new_vectors(
    built: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    before = structured(built, encoder)
    assert (before.tiles, before.added) == (600, 0)
    caplog.set_level(logging.INFO)
    after = structure_of(add(built, encoder, *numbered(20, start=600)))
    assert caplog.messages == ["PCA8,IVF8,SQ8 takes in 20 tiles; its recall was measured on 600"]
    assert after == replace(before, added=20, bytes=after.bytes)
    assert after.bytes > before.bytes
    grown = recall(built)
    require_as_anew(built)
    assert structure_of(read_manifest(built)).tiles == 620
    assert grown >= recall(built) - 0.02 > 0.85


def test_rows_that_moved_are_taken_out_of_a_structure_and_put_in_again(
    built: Path, encoder: FakeEncoder
) -> None:
    add(built, encoder, *numbered(15, start=600))
    structured(built, encoder)
    (built.parent / "tiles" / "t0609.png").unlink()
    after = structure_of(add(built, encoder, "a.png"))
    # 600 rows stay where they are; the new tile and the rest of the last shard follow.
    assert (after.tiles, after.added) == (615, 15)
    grown = recall(built)
    require_as_anew(built)
    assert grown >= recall(built) - 0.02 > 0.85


def test_ann_index_is_retrained_after_growing_by_its_share(
    built: Path, encoder: FakeEncoder
) -> None:
    structured(built, encoder)
    assert structure_of(add(built, encoder, *numbered(30, start=600))).added == 30
    after = structure_of(add(built, encoder, "z.png"))
    assert (after.tiles, after.added) == (631, 0)


@pytest.mark.parametrize(
    "search",
    [replace(CHOSEN, recall=0.95), replace(CHOSEN, structure="IVF4,SQ8")],
    ids=["recall", "structure"],
)
def test_ann_index_is_retrained_for_another_request(
    built: Path, encoder: FakeEncoder, search: SearchConfig
) -> None:
    structured(built, encoder)
    after = structure_of(add(built, encoder, "z.png", search=search))
    assert (after.factory, after.tiles, after.added) == (search.structure, 601, 0)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_damaged_ann_index_is_retrained(
    built: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    structured(built, encoder)
    path = built / read_manifest(built).files["candidates"].path
    if how == "damaged":
        flip(path, 4000)
    else:
        path.unlink()
    after = structure_of(add(built, encoder, "z.png"))
    assert (after.tiles, after.added) == (601, 0)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: {how}")
    assert message.endswith("; rebuilt from the shards")


def test_graph_grows_and_is_rebuilt_when_rows_move(
    built: Path, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    structured(built, encoder, SearchConfig(structure="HNSW8", recall=0.5))
    assert structure_of(add(built, encoder, *numbered(10, start=600))).added == 10
    assert recall(built) > 0.5
    (built.parent / "tiles" / "t0605.png").unlink()
    after = structure_of(add(built, encoder))
    assert (after.tiles, after.added) == (609, 0)
    (message,) = caplog.messages
    assert "FAISS cannot take rows out of it (" in message
