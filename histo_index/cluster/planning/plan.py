"""What it takes to index and search a number of tiles: time, storage, memory, machines, cost."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from histo_index.errors import InputError
from histo_index.indexer.nearest.choose import EXACT_ROWS, memory_needs
from histo_index.indexer.writing.rate import choose_shard_rows

# Bytes of a row beside its embedding: id, path, hash, sizes.
_ROW_BYTES: Final = 100
# A record of a shard in the manifest.
_RECORD_BYTES: Final = 700
# To train and fill an ANN index: 148 s for a million on two cores (docs/benchmarks.md).
_ANN_CORE_SECONDS: Final = 3.0e-4
# Memory beside the ANN index: the system, the process, pages of vectors that are read again.
_SPARE: Final = 0.3
# Beyond that one machine is slow, though it would do.
_PATIENCE_S: Final = 7 * 86_400
_FLOAT16: Final = 2
# More files than that make folder and manifest slow; larger shards make fewer.
_MOST_SHARDS: Final = 20_000
_LARGE_SHARD: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be planned.

    Attributes:
        tiles: N.
        embedding_size: D.
        tiles_per_second: encoded by one worker, decoding included.
        is_rate_given: whether the rate was given, or measured on this machine.
        workers: that encode.
        tile_bytes: of an image file.
        machine_bytes: memory of a machine.
        hour_price: of a worker, in any currency; None if unknown.
    """

    tiles: int
    embedding_size: int
    tiles_per_second: float
    is_rate_given: bool
    workers: int
    tile_bytes: float
    machine_bytes: float
    hour_price: float | None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in given.items():
            if name != "is_rate_given" and not 0 < value < math.inf:
                raise InputError(f"{name.replace('_', ' ')}: {value:g}, expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of a plan.

    Attributes:
        name: what is needed.
        value: how much.
        unit: `s`, `bytes`, `files`, `machines`, or a currency as `price`.
        origin: `measured`, `given`, `scaled` from what was measured, or `assumed`.
        note: how it follows.
    """

    name: str
    value: float
    unit: str
    origin: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a number of tiles takes.

    Attributes:
        items: line by line.
        structure: `exact`, or a FAISS factory string.
        shard_rows: tiles per shard.
        advice: where one machine ends, one sentence each.
    """

    items: tuple[Item, ...]
    structure: str
    shard_rows: int
    advice: tuple[str, ...]


def make_plan(asked: Question) -> Plan:
    """Plan the index of a number of tiles."""
    structure, memory = _structure(asked)
    seconds = asked.tiles / asked.tiles_per_second
    rows = _shard_rows(asked)
    return Plan(
        items=(
            *_encoding(asked, seconds, rows),
            *_storage(asked, rows),
            *_search(asked, memory),
        ),
        structure=structure,
        shard_rows=rows,
        advice=tuple(_advise(asked, seconds, memory, rows)),
    )


def _shard_rows(asked: Question) -> int:
    """Choose tiles per shard: as `build` does, or more where there would be too many files."""
    rows = choose_shard_rows(asked.tiles_per_second)
    return rows if asked.tiles <= rows * _MOST_SHARDS else max(rows, _LARGE_SHARD)


def _structure(asked: Question) -> tuple[str, float]:
    """Return how the tiles are searched, and the memory that it takes."""
    if asked.tiles < EXACT_ROWS:
        return "exact", float(asked.tiles * asked.embedding_size * _FLOAT16)
    structure, memory = next(iter(memory_needs(asked.tiles, asked.embedding_size).items()))
    return structure, float(memory)


def _encoding(asked: Question, seconds: float, rows: int) -> Iterator[Item]:
    rate = "given" if asked.is_rate_given else "measured"
    yield Item(
        name="rate of a worker", value=asked.tiles_per_second, unit="tiles/s", origin=rate,
        note="decoding included",
    )  # fmt: skip
    hours = seconds / 3600
    yield Item(
        name="encoding", value=seconds, unit="s", origin="scaled",
        note=f"by one worker, {hours:,.1f} hours of it",
    )  # fmt: skip
    if asked.workers > 1:
        yield Item(
            name="encoding", value=seconds / asked.workers, unit="s", origin="scaled",
            note=f"by {asked.workers} workers, at full efficiency",
        )  # fmt: skip
    if asked.hour_price is not None:
        yield Item(
            name="cost of encoding", value=hours * asked.hour_price, unit="price",
            origin="given", note=f"at {asked.hour_price:g} an hour of a worker",
        )  # fmt: skip
    yield Item(
        name="lost with a worker", value=rows / asked.tiles_per_second, unit="s", origin="scaled",
        note=f"a shard of {rows:,} tiles",
    )  # fmt: skip


def _storage(asked: Question, rows: int) -> Iterator[Item]:
    vectors = asked.tiles * asked.embedding_size * _FLOAT16
    shards = math.ceil(asked.tiles / rows)
    yield Item(
        name="images", value=asked.tiles * asked.tile_bytes, unit="bytes", origin="assumed",
        note=f"{asked.tile_bytes / 1000:g} KB each",
    )  # fmt: skip
    yield Item(
        name="shards", value=vectors + asked.tiles * _ROW_BYTES, unit="bytes", origin="scaled",
        note=f"{shards:,} files, float16 × {asked.embedding_size:,} and {_ROW_BYTES} bytes a tile",
    )  # fmt: skip
    yield Item(
        name="vectors", value=vectors, unit="bytes", origin="scaled",
        note="on a disk that reads at random quickly",
    )  # fmt: skip
    yield Item(
        name="manifest", value=shards * _RECORD_BYTES, unit="bytes", origin="scaled", note=""
    )


def _search(asked: Question, memory: float) -> Iterator[Item]:
    yield Item(
        name="memory to search", value=memory, unit="bytes", origin="scaled",
        note="the vectors themselves" if asked.tiles < EXACT_ROWS else "the ANN index",
    )  # fmt: skip
    if asked.tiles >= EXACT_ROWS:
        yield Item(
            name="making the ANN index", value=asked.tiles * _ANN_CORE_SECONDS, unit="s",
            origin="scaled", note="of one core, from 148 s for a million tiles on two",
        )  # fmt: skip
    yield Item(
        name="machine to search", value=memory / (1 - _SPARE), unit="bytes", origin="scaled",
        note=f"{100 * _SPARE:.0f} % of it left free",
    )  # fmt: skip
    yield Item(
        name="or exactly, in parts", value=_count_machines(asked), unit="machines", origin="scaled",
        note=f"of {asked.machine_bytes / 1e9:g} GB, with all vectors: `search --engine ray`",
    )  # fmt: skip


def _count_machines(asked: Question) -> int:
    """Count the machines that hold all vectors in memory."""
    vectors = asked.tiles * asked.embedding_size * _FLOAT16
    return max(math.ceil(vectors / (asked.machine_bytes * (1 - _SPARE))), 1)


def _advise(asked: Question, seconds: float, memory: float, rows: int) -> Iterator[str]:
    is_too_large = memory > asked.machine_bytes * (1 - _SPARE)
    if seconds <= _PATIENCE_S and not is_too_large:
        yield "One worker on one machine is enough."
    if seconds > _PATIENCE_S:
        needed = math.ceil(seconds / _PATIENCE_S)
        yield (
            f"One worker would encode for more than a week; {needed:,} workers take a week: "
            "`build --engine processes` on a machine with several GPUs, `build --engine ray` beyond"
        )
    if is_too_large:
        yield (
            f"The ANN index does not fit a machine of {asked.machine_bytes / 1e9:g} GB: take one "
            f"of {memory / (1 - _SPARE) / 1e9:.0f} GB, or search exactly in parts on "
            f"{_count_machines(asked):,} machines, `search --engine ray`"
        )
    if rows != choose_shard_rows(asked.tiles_per_second):
        yield f"Pass --shard-rows {rows} to `build`, or there will be too many files."
