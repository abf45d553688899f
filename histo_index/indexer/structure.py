"""Choose how an index is searched, and measure on the index itself what that choice is worth."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.errors import InputError

Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

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
_NEIGHBOURS: Final = 10
_QUERIES: Final = 256
_CANDIDATES: Final = (32, 64, 128, 256, 512)
# 148 s for a million on two cores.
_SECONDS_PER_ROW: Final = 1.5e-4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How an index is to be searched.

    Attributes:
        structure: a FAISS factory string, or `exact`; None chooses by the number of tiles.
        recall: share of the true ten nearest that must be found, measured on the index.
        memory_bytes: how large the structure may be, the mapped vectors not counted.
    """

    structure: str | None = None
    recall: float = 0.99
    memory_bytes: int = 4_000_000_000

    def __post_init__(self) -> None:
        if not 0 < self.recall < 1:
            raise InputError(f"recall is {self.recall}; expected more than 0 and less than 1")
        if not self.memory_bytes > 0:
            raise InputError(f"memory is {self.memory_bytes} bytes; expected more than none")


def search_config(
    structure: str | None, recall: float | None, memory: str | int | None
) -> SearchConfig | None:
    """Take what a user gave; None if that is nothing, and what is left out by its default."""
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


def announce_structure(rows: int, size: int, config: SearchConfig) -> None:
    """Tell what an index will be searched by, why, and what that costs; see `choose_structure`.

    Raises:
        InputError: the memory is too small for any, or FAISS does not know the one asked for.
    """
    factory = choose_structure(rows, size, config)
    if config.structure not in (None, EXACT):
        # Imported here: it brings FAISS, which a small index does without.
        from histo_index.indexer.faiss_files import require_factory

        require_factory(factory, size=size)
    if need := _needs(rows, size).get(factory):
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
    needs = _needs(rows, size)
    fitting = [factory for factory, need in needs.items() if need <= config.memory_bytes]
    if not fitting:
        raise InputError(
            f"--memory {config.memory_bytes / 1e6:g}MB is too small to search {rows:,} tiles: "
            f"expected at least {min(needs.values()) / 1e6:.1f}MB, or --structure exact"
        )
    return fitting[0]


def _needs(rows: int, size: int) -> dict[str, int]:
    """Give the structures to choose from, the best first, and the bytes that each needs."""
    lists, short = 1 << round(math.log2(4 * math.sqrt(max(rows, 1)))), min(_SHORT, size)
    prefix = f"PCA{short},IVF{lists}" if short < size else f"IVF{lists}"
    learnt = 4 * short * (lists + size)
    return {
        f"{prefix},{code}": learnt + rows * (_ROW_NUMBER + int(short * cost))
        for code, cost in _CODES.items()
    }


def make_structure(
    path: Path, matrix: Halves, blocks: Iterable[Halves], factory: str, config: SearchConfig
) -> Mapping[str, Any]:
    """Write a structure and measure it.

    Args:
        path: where to write.
        matrix: float16 [N, D], mapped.
        blocks: the same, to be read once in row order.
        factory: as `choose_structure` gave it.
        config: the recall to reach.

    Returns:
        For the manifest: `factory`, `effort` and `candidates` it is searched with, `recall` of the
        ten nearest that this reaches, `queries_per_second`, `exact_queries_per_second`, `bytes`.
    """
    from histo_index.indexer.faiss_files import make_candidates, write_candidates

    started = time.monotonic()
    index = make_candidates(factory, matrix[_sample(matrix, factory)], blocks, size=matrix.shape[1])
    write_candidates(path, index)
    facts = _Tuning(index, matrix).run(config.recall)
    if facts["recall"] < config.recall:
        _log.warning(
            "%s finds %.3f of the ten nearest at most, asked for %g; pass another --structure",
            factory, facts["recall"], config.recall,
        )  # fmt: skip
    seconds, taken = round(time.monotonic() - started, 1), path.stat().st_size
    if taken > config.memory_bytes:
        _log.warning(
            "%s takes %.1f MB, more than --memory %g MB; pass another --structure or leave it out",
            factory, taken / 1e6, config.memory_bytes / 1e6,
        )  # fmt: skip
    return {"factory": factory, **facts, "bytes": taken, "seconds_to_make": seconds}


def _sample(matrix: Halves, factory: str) -> Rows:
    """Draw the rows that a structure is learnt from."""
    lists = next((p[3:] for p in factory.split(",") if p.startswith("IVF")), "256").split("_")[0]
    wanted = _ROWS_PER_LIST * max(int(lists) if lists.isdigit() else 256, 512)
    rows = np.random.default_rng(0).permutation(len(matrix))
    return rows[: min(wanted, _MOST_SAMPLED)]


class _Tuning:
    """Finds the cheapest way to search a structure that still finds what exact search finds."""

    def __init__(self, index: Any, matrix: Halves) -> None:
        from histo_index.indexer.faiss_search import most_effort

        self._index = index
        self._matrix = matrix
        self._most: int = most_effort(index)

    def run(self, target: float) -> dict[str, Any]:
        """Choose on one sample of tiles, measure on another."""
        count = min(_QUERIES, len(self._matrix) // 2)
        rows = np.random.default_rng(1).choice(len(self._matrix), 2 * count, replace=False)
        exact_s, limits = self._timed(lambda: self._limits(rows))
        effort, candidates = self._choose(rows[:count], limits[:count], target)
        queries = rows[count:]
        search_s, distances = self._timed(lambda: self._distances(queries, effort, candidates))
        return {
            "effort": effort,
            "candidates": candidates,
            "recall": round(float(_recalls(distances, limits[count:]).mean()), 4),
            "queries_per_second": round(count / search_s),
            "exact_queries_per_second": round(len(rows) / exact_s, 1),
        }

    def _choose(self, queries: Rows, limits: Floats, target: float) -> tuple[int, int]:
        efforts = [1 << power for power in range(self._most.bit_length())]
        best: tuple[float, int, int] | None = None
        for effort in efforts:
            distances = self._distances(queries, effort, _CANDIDATES[-1])
            for candidates in _CANDIDATES:
                if _surely(_recalls(distances[:, :candidates], limits)) >= target:
                    cost = self._cost(effort, candidates)
                    best = min(best or (np.inf, 0, 0), (cost, effort, candidates))
                    break
            if best is not None and self._cost(effort, 0) >= best[0]:
                break
        return best[1:] if best else (self._most, _CANDIDATES[-1])

    def _cost(self, effort: int, candidates: int) -> float:
        """Count the bytes that a query reads."""
        scanned = len(self._matrix) * effort / self._most * (_SHORT + _ROW_NUMBER)
        return scanned + candidates * 2.0 * int(self._matrix.shape[1])

    def _limits(self, queries: Rows) -> Floats:
        """Find how far the tenth nearest tile of each query is: float32 [Q]."""
        from histo_index.indexer.faiss_search import compare_all

        count = min(_NEIGHBOURS + 1, len(self._matrix))
        found = compare_all(self._floats(queries), self._matrix, count)
        distances = np.sort(self._measure(queries, found), axis=1)
        limits: Floats = distances[:, min(_NEIGHBOURS, distances.shape[1]) - 1]
        return limits

    def _distances(self, queries: Rows, effort: int, candidates: int) -> Floats:
        """Find candidates and their exact distances: float32 [Q, candidates]."""
        from histo_index.indexer.faiss_search import ask, search_parameters

        parameters = search_parameters(self._index, effort)
        count = min(candidates, len(self._matrix))
        found = ask(self._index, self._floats(queries), count, parameters)
        return self._measure(queries, found)

    def _measure(self, queries: Rows, found: Rows) -> Floats:
        """Measure exact distances; infinite for the query itself and where nothing was found."""
        from histo_index.indexer.compiled import row_distances

        left = np.repeat(queries, found.shape[1])
        right = found.ravel()
        distances = row_distances(
            self._matrix, self._matrix, left_rows=left, right_rows=np.maximum(right, 0)
        )
        distances[(right < 0) | (right == left)] = np.inf
        return distances.reshape(found.shape)

    def _floats(self, queries: Rows) -> Floats:
        return self._matrix[queries].astype(np.float32)

    @staticmethod
    def _timed(job: Callable[[], Floats]) -> tuple[float, Floats]:
        started = time.monotonic()
        result = job()
        return max(time.monotonic() - started, 1e-9), result


def _recalls(distances: Floats, limits: Floats) -> Floats:
    """Tell which share of its nearest tiles each query finds: [Q]; equally far is equally good."""
    is_near = distances <= limits[:, None] * (1 + 1e-5)
    shares: Floats = np.minimum(np.count_nonzero(is_near, axis=1), _NEIGHBOURS) / _NEIGHBOURS
    return shares


def _surely(recalls: Floats) -> float:
    """Give the recall that other queries reach too: two standard errors below this sample's."""
    return float(recalls.mean() - 2 * recalls.std() / np.sqrt(len(recalls)))
