"""Removed tiles are gone at once, stay gone when built again, and leave the disk when compacted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from histo_index.api.info import index_facts
from histo_index.errors import IndexFormatError, InputError
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.format.lookup import MISSING
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.compact import compact
from histo_index.indexer.writing.commit import reindex
from histo_index.search.answers.duplicates import find_outliers
from histo_index.search.answers.removal import RemoveConfig, RemoveReport, restore
from histo_index.search.answers.removal import remove as remove_chosen
from histo_index.search.neighbours.close_pairs import close_pairs
from histo_index.search.neighbours.nearest import nearest_rows
from tests.vectors import NumberEncoder, build_numbered, unit_vectors

N, D = 60, 16
VECTORS = unit_vectors(N, D)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder, _ = build_numbered(
        tmp_path,
        VECTORS,
        [f"{n:02}.png" for n in range(N)],
        columns=",site",
        rows=[f",{'ABC'[n % 3]}" for n in range(N)],
    )
    return folder


def remove(index: OpenIndex, **options: Any) -> RemoveReport:
    return remove_chosen(index, RemoveConfig(**options))


def found_ids(index: OpenIndex) -> set[str]:
    """Name every tile that a search can give."""
    query = VECTORS[:1].astype(np.float16)
    rows = nearest_rows(index, query, k=N, own_rows=[None]).rows[0]
    return {index.row(int(row))["image_id"] for row in rows if row >= 0}


def names(*, without: str) -> set[str]:
    return {f"{n:02}.png" for n in range(N) if "ABC"[n % 3] not in without}


@pytest.mark.parametrize("structure", ["exact", "IVF4,SQ8"])
def test_removed_tiles_are_gone_at_once(built: Path, structure: str) -> None:
    reindex(built, SearchConfig(structure=structure, recall=0.5))
    before = OpenIndex(built)
    assert remove(before, where="site = 'A'").removed == 20
    assert found_ids(before) == names(without="")
    index = OpenIndex(built)
    assert found_ids(index) == names(without="A")
    assert index.find_names(pa.array(["00.png", "01.png"])).tolist() == [MISSING, 1]
    assert remove(index, names=["01", "02.png"], where="site = 'A'").removed == 2
    index = OpenIndex(built)
    gone = {"01.png", "02.png"}
    assert found_ids(index) == names(without="A") - gone
    pairs = [p for left, right, _ in close_pairs(index, 4.0) for p in (*left, *right)]
    assert {index.row(int(p))["image_id"] for p in pairs} == names(without="A") - gone
    outliers = find_outliers(index, count=N).to_pylist()
    assert {row["image_id"] for row in outliers} == names(without="A") - gone
    assert {row["nearest"] for row in outliers} <= names(without="A") - gone
    assert index_facts(built, verify=True)["removed"] == 22


def test_compacting_leaves_the_same_answers_and_encodes_nothing(built: Path) -> None:
    remove(OpenIndex(built), where="site = 'B'")
    before = OpenIndex(built)
    assert before.is_live is not None
    left = np.flatnonzero(before.is_live)
    report = compact(built)
    after = OpenIndex(built)
    assert (report.tiles, report.erased, len(after)) == (40, 20, 40)
    assert found_ids(after) == names(without="B")
    np.testing.assert_array_equal(after.matrix, before.matrix[left])
    assert after.rows.equals(before.rows.take(left))
    assert compact(built).generation == report.generation
    index_facts(built, verify=True)
    shards = {path.name for path in (built / "embeddings").glob("*.parquet")}
    assert shards == {Path(shard.file.path).name for shard in after.manifest.shards}


def test_a_removed_tile_stays_out_until_its_content_changes(built: Path) -> None:
    remove(OpenIndex(built), where="site = 'B'", rule=False)
    tiles = built.parent / "tiles"
    encoder = NumberEncoder(VECTORS, built.parent / "encoder")
    config = BuildConfig(sources=[], output=built, manifest=tiles / "manifest.csv")
    build(config, encoder)
    assert found_ids(OpenIndex(built)) == names(without="B")
    assert encoder.encoded == []
    assert read_manifest(built).tiles == 40
    (tiles / "01.png").write_text("6")
    build(config, encoder)
    index = OpenIndex(built)
    assert found_ids(index) == names(without="B") | {"01.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to remove: pass --where EXPRESSION or --list FILE"),
        ({"names": ["00.png", "no\n.png"]}, r"no\\n.png: not in the index; nothing was"),
        ({"where": "site <> ''"}, "no tile would be left; delete the folder instead"),
        ({"where": "site = 'Z'"}, "true of no tile"),
    ],
)
def test_invalid_removal_is_one_line(built: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        remove(OpenIndex(built), **options)
    assert read_manifest(built).generation == 1


def test_a_damaged_list_of_removed_tiles_is_refused(built: Path) -> None:
    remove(OpenIndex(built), where="site = 'A'")
    (path,) = built.glob("removed-*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    tiles = built.parent / "tiles"
    encoder = NumberEncoder(VECTORS, built.parent / "encoder")
    config = BuildConfig(sources=[], output=built, manifest=tiles / "manifest.csv")
    refusals: list[Callable[[], object]] = [
        lambda: OpenIndex(built),
        lambda: compact(built),
        lambda: index_facts(built, verify=True),
        lambda: build(config, encoder),
    ]
    for refused in refusals:
        with pytest.raises(IndexFormatError) as caught:
            refused()
        message = str(caught.value)
        assert message.startswith(f"{path}: damaged: checksum ")
        assert message.endswith(
            "; restore it from a copy, or delete it and manifest.json, run `histo-index build` "
            "again, which keeps the shards, and `remove` again"
        )
    (built / "manifest.json").unlink()
    path.unlink()
    build(config, encoder)
    assert encoder.encoded == []
    remove(OpenIndex(built), where="site = 'A'")
    assert found_ids(OpenIndex(built)) == names(without="A")
    index_facts(built, verify=True)


def test_restoring_a_lifted_rule_reports_no_such_rule(tmp_path: Path) -> None:
    rows = [",A", ",B", ",C"]
    names = ["a.png", "b.png", "c.png"]
    path, _ = build_numbered(tmp_path, unit_vectors(3, 8), names, columns=",site", rows=rows)
    remove_chosen(OpenIndex(path), RemoveConfig(where="site = 'A'"))
    restore(path, rule="site = 'A'")
    with pytest.raises(InputError) as caught:
        restore(path, rule="site = 'A'")
    assert str(caught.value) == (
        "--rule site = 'A': no such standing rule; the index has: none; nothing was restored"
    )
