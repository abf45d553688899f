"""Shard tasks: one lazy stream through the encoder, copies where a content is known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histo_index.indexer.format.shards import Receipt, read_shard, receipt_path
from histo_index.indexer.hashing.tiles import hash_tiles
from histo_index.indexer.inputs.tiles import list_tiles
from histo_index.indexer.writing.commit import finished_shards
from histo_index.indexer.writing.embedding_store import EmbeddingStore
from histo_index.indexer.writing.plan import ShardTask, make_plan
from histo_index.indexer.writing.shard_tasks import Step, run_tasks
from tests.indexer.fakes import FakeEncoder, embedding_of, numbered, run_build, write_tiles


@pytest.fixture
def index(tiles: Path, tmp_path: Path, encoder: FakeEncoder) -> Path:
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    encoder.encoded.clear()
    return tmp_path / "tiles.hx"


def cut(wanted: pa.Table, *, shard_rows: int = 8) -> tuple[ShardTask, ...]:
    """Plan as if nothing were finished."""
    return make_plan(
        wanted, [], known_rejected=[], fingerprint="f", max_pixels=1, shard_rows=shard_rows
    ).tasks


def hashed(tiles: Path) -> pa.Table:
    return hash_tiles(list_tiles([tiles]), lambda done: None).table


def test_known_contents_are_found_and_taken_from_whichever_shard_holds_them(
    tiles: Path, index: Path, encoder: FakeEncoder
) -> None:
    store = EmbeddingStore(index, finished_shards(index, encoder.fingerprint))
    write_tiles(tiles, ["b.png", "t0005b.png"])
    wanted = hashed(tiles)
    tasks = cut(wanted, shard_rows=5)
    located = np.concatenate(store.locate(tasks)).tolist()
    names = wanted["path"].to_pylist()
    assert [name for name, position in zip(names, located, strict=True) if position < 0] == [
        "b.png",
        "t0005b.png",
    ]
    for name, position in zip(names, located, strict=True):
        if position >= 0:
            facts = store.take(position)
            data = (tiles / name).read_bytes()
            np.testing.assert_array_equal(
                facts.embedding, embedding_of(data).astype(np.float16), strict=True
            )
            assert (facts.width, facts.height, facts.note) == (len(data), data[0], None)
            assert store.runtime(position)["name"] == "fake"


def test_no_task_has_no_positions(index: Path, encoder: FakeEncoder) -> None:
    store = EmbeddingStore(index, finished_shards(index, encoder.fingerprint))
    assert store.locate([]) == []
    written = run_tasks(
        [], encoder, store=store, folder=index, root=index, progress=lambda step: None
    )
    assert list(written) == []


def test_an_empty_store_knows_nothing(tiles: Path, tmp_path: Path) -> None:
    tasks = cut(hashed(tiles))
    found = EmbeddingStore(tmp_path, []).locate(tasks)
    assert [located.tolist() for located in found] == [[-1] * 8, [-1] * 8, [-1] * 4]


def test_shards_are_finished_one_by_one_without_reading_ahead(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    tasks = cut(hashed(tiles))
    steps: list[Step] = []
    receipts = run_tasks(
        tasks,
        encoder,
        store=EmbeddingStore(tmp_path, []),
        folder=tmp_path / "out",
        root=tiles,
        progress=steps.append,
    )
    for number, task in enumerate(tasks, 1):
        receipt = next(receipts)
        assert (receipt.shard_id, receipt.rows) == (task.shard_id, len(task.tiles))
        done = min(8 * number, 20)
        assert encoder.encoded == numbered(done)
        assert steps == [Step(outcome="encoded")] * done
        found = sorted(path.name for path in (tmp_path / "out" / "embeddings").glob("*.json"))
        ids = sorted(task.shard_id for task in tasks[:number])
        assert found == [f"part-{shard_id}.json" for shard_id in ids]
    assert next(receipts, None) is None


def test_a_build_without_new_tiles_does_not_touch_the_encoder(
    tiles: Path, index: Path, encoder: FakeEncoder
) -> None:
    store = EmbeddingStore(index, finished_shards(index, encoder.fingerprint))
    wanted = hashed(tiles)
    wanted = wanted.append_column("label", pa.array(["x"] * 20))
    tasks = cut(wanted)

    def refuse(paths: object) -> None:
        raise AssertionError("asked to encode")

    encoder.encode_files = refuse  # type: ignore[method-assign,assignment]
    encoder.describe = refuse  # type: ignore[method-assign,assignment]
    steps: list[Step] = []
    options = {"store": store, "folder": index, "root": tiles, "progress": steps.append}
    receipts = list(run_tasks(tasks, encoder, **options))  # type: ignore[arg-type]
    assert [receipt.rows for receipt in receipts] == [8, 8, 4]
    assert steps == [Step(outcome="copied")] * 20


def test_a_receipt_is_about_the_shard_that_is_there(
    tiles: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    """Two workers publish the same shard; the first is lost before it can write the receipt."""
    first, *_ = cut(hashed(tiles))
    lost, folder = tiles / "t0003.png", tmp_path / "out"

    def publish(task: ShardTask, *, is_seen: bool) -> Receipt:
        hidden = lost.with_suffix(".hidden")
        if not is_seen:
            lost.rename(hidden)
        store = EmbeddingStore(tmp_path, [])
        (receipt,) = run_tasks(
            [task], encoder, store=store, folder=folder, root=tiles, progress=lambda step: None
        )
        if not is_seen:
            hidden.rename(lost)
        return receipt

    publish(first, is_seen=False)
    receipt_path(folder, first.shard_id).unlink()
    receipt = publish(first, is_seen=True)
    assert receipt.rows == len(read_shard(folder, receipt.file)) == 7
    (rejection,) = receipt.rejected
    # Without a hash: the next build tries again.
    assert (rejection.path, rejection.sha256) == ("t0003.png", "")
    assert rejection.reason == "could not be used by a worker that was lost: run the build again"

    folder = tmp_path / "other"
    publish(first, is_seen=True)
    receipt_path(folder, first.shard_id).unlink()
    receipt = publish(first, is_seen=False)
    assert receipt.rows == len(read_shard(folder, receipt.file)) == 8
    assert receipt.rejected == ()
