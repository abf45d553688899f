"""Choose how many tiles a shard holds, so that an interrupted build loses about a minute."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from histo_index.errors import ImageError
from histo_index.indexer.encoder_protocol import Encode, Encoded

# 1,024 embeddings of 2,048 numbers are 4 MB; a million tiles are then 1,000 files.
MOST_ROWS: Final = 1024
_LEAST_ROWS: Final = 8
# What an interruption may cost.
_SHARD_S: Final = 60.0
# What is measured, whichever comes first.
_TILES: Final = 64
_LONGEST_S: Final = 10.0

T = TypeVar("T")


def begin_encoding(
    encode: Encode, paths: Iterable[Path]
) -> tuple[int, Iterator[Encoded | ImageError]]:
    """Start encoding tiles and choose tiles per shard from how fast the first ones are done.

    Returns:
        Tiles per shard, and the results of all tiles, those that were measured included.
    """
    stream = iter(encode.encode_files(paths))
    taken, rate = measure_rate(stream)
    return choose_shard_rows(rate), itertools.chain(taken, stream)


def measure_rate(
    results: Iterator[T], clock: Callable[[], float] = time.monotonic
) -> tuple[list[T], float]:
    """Read the first results of a stream and measure their rate.

    The time until the first result is left out: it is start-up.

    Args:
        results: encoded tiles.
        clock: returns seconds.

    Returns:
        The results taken, and results per second; infinite if they came all at once.
    """
    taken: list[T] = []
    started = elapsed = 0.0
    for result in results:
        taken.append(result)
        if len(taken) == 1:
            started = clock()
            continue
        elapsed = clock() - started
        if len(taken) >= _TILES or elapsed >= _LONGEST_S:
            break
    return taken, (len(taken) - 1) / elapsed if elapsed > 0 else float("inf")


def choose_shard_rows(rate: float) -> int:
    """Choose tiles per shard from tiles per second: a power of two, 8 to 1,024.

    Encoding a shard takes 30 to 60 seconds, less where 1,024 tiles are faster than that.
    """
    rows = MOST_ROWS
    while rows > _LEAST_ROWS and rows > rate * _SHARD_S:
        rows //= 2
    return rows
