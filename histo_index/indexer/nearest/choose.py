"""Choose an ANN index by size and memory, train it, and measure its recall on the index itself."""

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from histo_index.arrays import Float16, Int64
from histo_index.errors import InputError
from histo_index.indexer.format.manifest import Manifest
from histo_index.indexer.format.records import AnnStructure, SearchConfig
from histo_index.indexer.nearest.tune import Tuning

EXACT: Final = "exact"
# Up to here exact search answers within 50 ms, and needs no memory beside the mapped vectors.
EXACT_ROWS: Final = 50_000
# Dimensions that candidates are found in: as good as 256 of them on clustered vectors of 2048, at
# a quarter of the memory, because candidates are put in order by their exact distance anyway.
_SHORT: Final = 64
# Bytes a dimension. The first that the memory budget allows is taken.
_CODES: Final = {"SQ8": 1.0, "SQ4": 0.5}
_ROW_NUMBER: Final = 8
# Rows that the centre of a list is learnt from; FAISS asks for 39 and takes at most 256.
_ROWS_PER_LIST: Final = 40
# 1 GB of float16 at 2048 dimensions.
_MOST_SAMPLED: Final = 250_000
# Rows added, as a share of those an ANN index was trained on, beyond which it is trained again. Up
# to here a recall of 0.99 lasts even where what is new is unlike all that it was learnt on
# (benchmarks/growing.py); to train on a million costs 1 ms of a core for each tile added.
_GROWN: Final = 0.05
# 148 s for a million on two cores.
_SECONDS_PER_ROW: Final = 1.5e-4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """An ANN index that was trained on an earlier generation.

    Attributes:
        index: of FAISS, ready to take in more.
        facts: its record in the manifest.
    """

    index: Any
    facts: AnnStructure

    @property
    def rows(self) -> int:
        """How many rows it holds, the first of the index."""
        return int(self.index.ntotal)


def search_config(
    structure: str | None, recall: float | None, memory: str | int | None
) -> SearchConfig | None:
    """Return the search options of a user with defaults for the others; None if none is given."""
    given: dict[str, Any] = {
        "structure": structure,
        "recall": recall,
        "memory_bytes": parse_bytes(memory) if isinstance(memory, str) else memory,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return SearchConfig(**given) if given else None


def parse_bytes(text: str) -> int:
    """Read an amount of memory such as `4GB` or `500 MB`.

    Raises:
        InputError: it is no such amount.
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.strip().upper().rstrip("KMGTB")
    unit = text.strip().upper()[len(number) :]
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError) as error:
        raise InputError(f"--memory {text!r}: expected an amount such as 4GB or 500MB") from error


def announce_structure(
    rows: int, size: int, config: SearchConfig, before: Manifest | None = None
) -> None:
    """Log which ANN index will be built, why, and its cost; see `choose_structure`.

    Args:
        rows: N.
        size: D.
        config: what was asked for.
        before: what is committed, whose structure may take in what is new at no such cost.

    Raises:
        InputError: the memory is too small for any, or FAISS does not know the one asked for.
    """
    factory = choose_structure(rows, size, config)
    if config.structure not in (None, EXACT):
        # Imported here: it brings FAISS, which a small index does without.
        from histo_index.indexer.nearest.faiss_index import require_factory

        require_factory(factory, size=size)
    if before and can_grow(before, factory, config, kept=min(before.rows, rows), rows=rows):
        return
    if need := memory_needs(rows, size).get(factory):
        _log.info(
            "%s tiles are too many to compare with each: %s, about %.1f MB of memory and %.0f s to "
            "make, then tuned to a recall of %g",
            f"{rows:,}", factory, need / 1e6, rows * _SECONDS_PER_ROW, config.recall,
        )  # fmt: skip


def choose_structure(rows: int, size: int, config: SearchConfig) -> str:
    """Choose a structure by the number of tiles and the memory there may be.

    Args:
        rows: N.
        size: D.
        config: what was asked for.

    Returns:
        `exact`, or a FAISS factory string.

    Raises:
        InputError: the memory is too small for any.
    """
    if config.structure is not None:
        return config.structure
    if rows < EXACT_ROWS:
        return EXACT
    needs = memory_needs(rows, size)
    fitting = [factory for factory, need in needs.items() if need <= config.memory_bytes]
    if not fitting:
        raise InputError(
            f"--memory {config.memory_bytes / 1e6:g}MB is too small to search {rows:,} tiles: "
            f"expected at least {min(needs.values()) / 1e6:.1f}MB, or --structure exact"
        )
    return fitting[0]


def memory_needs(rows: int, size: int) -> dict[str, int]:
    """Return the factory strings to choose from, best first, and the bytes each needs."""
    lists, short = 1 << round(math.log2(4 * math.sqrt(max(rows, 1)))), min(_SHORT, size)
    prefix = f"PCA{short},IVF{lists}" if short < size else f"IVF{lists}"
    learnt = 4 * short * (lists + size)
    return {
        f"{prefix},{code}": learnt + rows * (_ROW_NUMBER + int(short * cost))
        for code, cost in _CODES.items()
    }


def can_grow(before: Manifest, factory: str, config: SearchConfig, *, kept: int, rows: int) -> bool:
    """Return whether an ANN index can be extended, or must be trained and tuned again.

    Args:
        before: whose structure it is.
        factory: what the index is to be searched by now.
        config: what was asked for now.
        kept: how many of its rows stay where they are.
        rows: N.
    """
    facts = before.structure
    if facts is None or facts.factory != factory or before.settings.search != config:
        return False
    return facts.added + rows - kept <= _GROWN * facts.tiles


def make_structure(
    path: Path, matrix: Float16, blocks: Iterable[Float16], factory: str, config: SearchConfig
) -> AnnStructure:
    """Train, write and measure an ANN index.

    Args:
        path: where to write.
        matrix: float16 [N, D], mapped.
        blocks: the same, to be read once in row order.
        factory: as `choose_structure` gave it.
        config: the recall to reach.

    Returns:
        Its record for the manifest.
    """
    from histo_index.indexer.nearest.faiss_index import make_candidates, write_candidates

    started = time.monotonic()
    index = make_candidates(factory, matrix[_sample(matrix, factory)], blocks, size=matrix.shape[1])
    write_candidates(path, index)
    tuned = Tuning(index, matrix).run(config.recall)
    if tuned.recall < config.recall:
        _log.warning(
            "%s finds %.3f of the ten nearest at most, asked for %g; pass another --structure",
            factory, tuned.recall, config.recall,
        )  # fmt: skip
    seconds, taken = round(time.monotonic() - started, 1), path.stat().st_size
    if taken > config.memory_bytes:
        _log.warning(
            "%s takes %.1f MB, more than --memory %g MB; pass another --structure or leave it out",
            factory, taken / 1e6, config.memory_bytes / 1e6,
        )  # fmt: skip
    return AnnStructure(
        factory=factory,
        effort=tuned.effort,
        candidates=tuned.candidates,
        recall=tuned.recall,
        queries_per_second=tuned.queries_per_second,
        exact_queries_per_second=tuned.exact_queries_per_second,
        bytes=taken,
        seconds_to_make=seconds,
        tiles=len(matrix),
        added=0,
    )


def extend_structure(path: Path, learnt: Learnt, blocks: Iterable[Float16]) -> AnnStructure:
    """Extend an ANN index by rows without training or measuring it again.

    Args:
        path: where to write.
        learnt: what was made by `make_structure`, with some of its rows.
        blocks: float16 [m, D] each, the rows that follow these.

    Returns:
        Its record for the manifest.
    """
    from histo_index.indexer.nearest.faiss_index import add_rows, write_candidates

    facts, before = learnt.facts, learnt.rows
    add_rows(learnt.index, blocks)
    write_candidates(path, learnt.index)
    added = facts.added + learnt.rows - before
    _log.info(
        "%s takes in %s tiles; its recall was measured on %s",
        facts.factory, f"{learnt.rows - before:,}", f"{facts.tiles:,}",
    )  # fmt: skip
    return replace(facts, bytes=path.stat().st_size, added=added)


def _sample(matrix: Float16, factory: str) -> Int64:
    """Draw the rows that an ANN index is trained on."""
    lists = next((p[3:] for p in factory.split(",") if p.startswith("IVF")), "256").split("_")[0]
    wanted = _ROWS_PER_LIST * max(int(lists) if lists.isdigit() else 256, 512)
    rows = np.random.default_rng(0).permutation(len(matrix))
    return rows[: min(wanted, _MOST_SAMPLED)]
