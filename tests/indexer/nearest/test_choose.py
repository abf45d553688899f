"""What an index is searched by is chosen by size and memory, and measured on the index itself."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import AnnStructure, SearchConfig
from histo_index.indexer.nearest.choose import (
    announce_structure,
    choose_structure,
    make_structure,
    parse_bytes,
)
from histo_index.indexer.nearest.tune import reachable_recall
from tests.indexer.fakes import FakeEncoder, numbered, run_build, write_tiles
from tests.vectors import unit_vectors

N, D = 4000, 48
CENTRES: Final = np.repeat(unit_vectors(40, D), N // 40, axis=0)
HALVES: Final = (CENTRES + 0.5 * unit_vectors(N, D, seed=1)).astype(np.float16)
HALVES[:] = HALVES / np.linalg.norm(HALVES.astype(np.float32), axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("rows", "size", "memory", "chosen"),
    [
        (49_999, 2048, 1, "exact"),
        (100_000, 2048, 4 * 10**9, "PCA64,IVF1024,SQ8"),
        (1_000_000, 2048, 4 * 10**9, "PCA64,IVF4096,SQ8"),
        (1_000_000, 64, 4 * 10**9, "IVF4096,SQ8"),
        (1_000_000, 2048, 60 * 10**6, "PCA64,IVF4096,SQ4"),
    ],
)
def test_the_structure_follows_from_size_and_memory(
    rows: int, size: int, memory: int, chosen: str
) -> None:
    assert choose_structure(rows, size, SearchConfig(memory_bytes=memory)) == chosen


def test_requested_structure_is_used() -> None:
    assert choose_structure(10, 8, SearchConfig(structure="HNSW32")) == "HNSW32"
    assert choose_structure(10**7, 8, SearchConfig(structure="exact")) == "exact"


def test_memory_that_is_too_small_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        choose_structure(1_000_000, 2048, SearchConfig(memory_bytes=10_000_000))
    assert str(caught.value) == (
        "--memory 10MB is too small to search 1,000,000 tiles: expected at least 41.6MB, "
        "or --structure exact"
    )


@pytest.mark.parametrize(
    ("text", "amount"), [("4GB", 4 * 10**9), ("1.5 mb", 1_500_000), ("300", 300), ("2KB", 2000)]
)
def test_amounts_of_memory_are_read(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "4XB", "four", "4GBGB", "nan", "1e999GB"])
def test_invalid_amount_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="expected an amount such as 4GB or 500MB"):
        parse_bytes(text)


@pytest.mark.parametrize("recall", [0, 1, -0.1, float("nan")])
def test_a_recall_that_cannot_be_is_refused(recall: float) -> None:
    with pytest.raises(InputError, match="more than 0 and less than 1"):
        SearchConfig(recall=recall)
    with pytest.raises(InputError, match="more than none"):
        SearchConfig(memory_bytes=0)


def test_training_cost_is_announced_beforehand(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    announce_structure(100, 2048, SearchConfig())
    announce_structure(1_000_000, 2048, SearchConfig())
    assert caplog.messages == [
        "1,000,000 tiles are too many to compare with each: PCA64,IVF4096,SQ8, about 73.6 MB of "
        "memory and 150 s to make, then tuned to a recall of 0.99"
    ]


def test_growing_ann_index_announces_no_training_cost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = FakeEncoder(folder=tmp_path / "fake-encoder")
    run_build(tmp_path / "tiles.hx", encoder, write_tiles(tmp_path / "tiles", numbered(1)))
    facts = AnnStructure(
        factory="PCA64,IVF1024,SQ8",
        effort=1,
        candidates=32,
        recall=0.99,
        queries_per_second=1,
        exact_queries_per_second=1.0,
        bytes=1,
        seconds_to_make=1.0,
        tiles=90_000,
        added=3_000,
    )
    manifest = read_manifest(tmp_path / "tiles.hx")
    shards = (replace(manifest.shards[0], rows=93_000),)
    before = replace(manifest, tiles=93_000, shards=shards, structure=facts)
    caplog.set_level(logging.INFO)
    announce_structure(94_500, 2048, SearchConfig(), before)
    assert caplog.messages == []
    announce_structure(94_500, 2048, SearchConfig(recall=0.98), before)
    announce_structure(94_501, 2048, SearchConfig(), before)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("factory", ["PCA32,IVF32,SQ8", "HNSW16", "SQ8"])
def test_ann_index_is_tuned_to_the_recall_and_reports_it(tmp_path: Path, factory: str) -> None:
    path = tmp_path / "candidates.faiss"
    facts = make_structure(path, HALVES, [HALVES], factory, SearchConfig(recall=0.9))
    assert facts.factory == factory
    assert 0.87 <= facts.recall <= 1
    assert facts.bytes == path.stat().st_size
    assert min(facts.queries_per_second, facts.exact_queries_per_second) > 0


def test_reachable_recall_is_two_standard_errors_below_the_mean() -> None:
    recalls = np.repeat([0.0, 1.0], 128).astype(np.float32)
    assert reachable_recall(recalls) == pytest.approx(0.5 - 2 * 0.5 / 16)
    assert reachable_recall(np.full(256, 0.9, np.float32)) == pytest.approx(0.9)


def test_a_higher_recall_takes_more_effort(tmp_path: Path) -> None:
    costs = []
    for recall in (0.3, 0.999):
        facts = make_structure(
            tmp_path / "c", HALVES, [HALVES], "PCA32,IVF64,SQ8", SearchConfig(recall=recall)
        )
        costs.append(facts.effort * facts.candidates)
    assert costs[0] < costs[1]


def test_unreachable_recall_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_structure(tmp_path / "c", HALVES, [HALVES], "PCA2,IVF4,SQ4", SearchConfig(recall=0.999))
    (message,) = caplog.messages
    assert message.startswith("PCA2,IVF4,SQ4 finds 0.")
    assert message.endswith("asked for 0.999; pass another --structure")


def test_ann_index_larger_than_the_memory_limit_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SearchConfig(recall=0.1, memory_bytes=10_000)
    facts = make_structure(tmp_path / "c", HALVES, [HALVES], "SQ8", config)
    assert caplog.messages == [
        f"SQ8 takes {facts.bytes / 1e6:.1f} MB, more than --memory 0.01 MB; "
        "pass another --structure or leave it out"
    ]


def test_unknown_faiss_string_is_refused_before_encoding(tmp_path: Path) -> None:
    encoder = FakeEncoder(folder=tmp_path / "fake-encoder")
    tiles = write_tiles(tmp_path / "tiles", numbered(20))
    with pytest.raises(InputError, match="--structure IVF4,Nonsense: FAISS cannot make it of"):
        run_build(
            tmp_path / "tiles.hx", encoder, tiles, search=SearchConfig(structure="IVF4,Nonsense")
        )
    assert encoder.encoded == []
