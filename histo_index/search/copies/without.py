"""Search without copies: neither of the query nor of a nearer neighbour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from histo_index.arrays import Bools, Float16, Int64
from histo_index.indexer.embeddings import read_embeddings
from histo_index.indexer.nearest.kernel import to_float32
from histo_index.indexer.reader import OpenIndex
from histo_index.search.copies.limits import CORRELATION, CopyLimits, copy_limits
from histo_index.search.copies.pixels import correlations, parts_limit, symmetric_parts
from histo_index.search.copies.tile_files import TileFiles, Wanted, read_wanted, wanted_rows
from histo_index.search.inputs.resolve import Located
from histo_index.search.neighbours.filters import Filters
from histo_index.search.neighbours.nearest import NOBODY, Found, nearest_rows

# Neighbours beyond k that are asked for at first, and the growth where copies leave too few.
_SPARE: Final = 8
_GROWTH: Final = 4
# Queries at a time, and images compared with others at a time: some dozen MB.
_BLOCK: Final = 1024
# What float32 may lose in squared distances between vectors of length 1.
_ROUNDING: Final = 1e-5


def nearest_without_copies(
    index: OpenIndex,
    queries: Sequence[Located],
    *,
    k: int,
    filters: Filters,
    files: TileFiles | None,
) -> Found:
    """Find the nearest tiles of each query that are no copies of it or of a nearer one.

    Copies are what `find_copies` says: of the same pixels, or nearly at the same place by plain
    distance where a file is missing. The images that were found are all compared with each other.
    An image in memory has no file.

    Args:
        index: where to search.
        queries: the images, Q of them.
        k: how many tiles of each; fewer come back only if fewer may.
        filters: which tiles may come back.
        files: the tile files; None confirms nothing on pixels.

    Raises:
        InputError: k is not positive, or the filters do not fit the index.
        IndexFormatError: a file that is needed is damaged.
    """
    limits, width = copy_limits(index), min(k, len(index))
    rows = np.full((len(queries), width), NOBODY, np.int64)
    distances = np.full((len(queries), width), np.inf, np.float32)
    for start in range(0, len(queries), _BLOCK):
        pending = np.arange(start, min(start + _BLOCK, len(queries)))
        count = k + _SPARE
        while len(pending):
            part = [queries[query] for query in pending.tolist()]
            vectors = np.stack([one.vector for one in part])
            own = [one.row for one in part]
            found = nearest_rows(index, vectors, k=count, own_rows=own, filters=filters)
            is_kept = _find_distinct(index, part, found, limits, files)
            is_done = (is_kept.sum(axis=1) >= k) | (found.rows[:, -1] == NOBODY)
            is_done |= count >= len(index)
            for query, number in zip(pending[is_done], np.flatnonzero(is_done), strict=True):
                kept = np.flatnonzero(is_kept[number])[:k]
                rows[query, : len(kept)] = found.rows[number, kept]
                distances[query, : len(kept)] = found.distances[number, kept]
            pending, count = pending[~is_done], _GROWTH * count
    return Found(rows=rows, distances=distances)


def _find_distinct(
    index: OpenIndex,
    queries: Sequence[Located],
    found: Found,
    limits: CopyLimits,
    files: TileFiles | None,
) -> Bools:
    """Flag the neighbours that are kept: bool [Q, K]."""
    images = _gather(index, queries, found, files)
    copies = _copy_pairs(images, limits, files)
    is_kept = np.zeros(found.rows.shape, bool)
    for query, neighbours in enumerate(images.neighbours):
        kept = [int(images.queries[query])]
        for rank, image in enumerate(neighbours.tolist()):
            if image == NOBODY:
                break
            if all((image, other) not in copies for other in kept):
                is_kept[query, rank] = True
                kept.append(image)
    return is_kept


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The tiles and queries of a block: n images.

    Attributes:
        embeddings: float16 [n, D].
        contents: int64 [n], equal for tiles with the same bytes.
        wanted: their files, [n].
        neighbours: int64 [Q, K], the images that were found; NOBODY where there are no more.
        queries: int64 [Q], the images that are the queries.
    """

    embeddings: Float16
    contents: Int64
    wanted: list[Wanted | None]
    neighbours: Int64
    queries: Int64


def _gather(
    index: OpenIndex, queries: Sequence[Located], found: Found, files: TileFiles | None
) -> _Images:
    outside = [query for query in queries if query.row is None]
    own = np.array([NOBODY if query.row is None else query.row for query in queries], np.int64)
    tiles = np.setdiff1d(np.concatenate([found.rows.ravel(), own]), [NOBODY])
    embeddings = [read_embeddings(index, tiles)]
    embeddings += [query.embedding[None] for query in outside if query.embedding is not None]
    contents = index.rows["sha256"].take(pa.array(tiles)).combine_chunks().dictionary_encode()
    codes = contents.indices.to_numpy().astype(np.int64)
    wanted = wanted_rows(index, tiles, files)
    wanted += [None if query.file is None else Wanted(path=query.file) for query in outside]
    neighbours = np.where(found.rows == NOBODY, NOBODY, np.searchsorted(tiles, found.rows))
    numbers = np.searchsorted(tiles, own)
    numbers[own == NOBODY] = len(tiles) + np.arange(len(outside))
    return _Images(
        embeddings=np.concatenate(embeddings),
        contents=np.concatenate([codes, len(tiles) + np.arange(len(outside))]),
        wanted=wanted,
        neighbours=neighbours,
        queries=numbers,
    )


def _copy_pairs(
    images: _Images, limits: CopyLimits, files: TileFiles | None
) -> set[tuple[int, int]]:
    """Find the pairs of images that are copies, in both orders, among those of each query."""
    is_there, thumbnails = read_wanted(images.wanted, files)
    parts = symmetric_parts(thumbnails)
    groups = np.concatenate([images.queries[:, None], images.neighbours], axis=1)
    near: list[Int64] = []
    alike: list[Int64] = []
    for group in groups:
        own = np.sort(group[group >= 0])
        near.append(_near_pairs(images.embeddings, own, limits.unconfirmed))
        alike.append(_near_pairs(parts, own[is_there[own]], parts_limit(CORRELATION)))
    left, right = np.unique(np.concatenate(near, axis=1), axis=1)
    is_equal = images.contents[left] == images.contents[right]
    is_copy = is_equal | ~(is_there[left] & is_there[right])
    found = {*zip(left[is_copy].tolist(), right[is_copy].tolist(), strict=True)}
    left, right = np.unique(np.concatenate(alike, axis=1), axis=1)
    is_copy = correlations(thumbnails, left, right) >= CORRELATION
    found |= {*zip(left[is_copy].tolist(), right[is_copy].tolist(), strict=True)}
    return found | {(second, first) for first, second in found}


def _near_pairs(embeddings: Float16, images: Int64, limit: float) -> Int64:
    """Find the pairs of some images, in ascending order, within a distance: int64 [2, P]."""
    vectors = to_float32(embeddings[images])
    squares = np.einsum("nd,nd->n", vectors, vectors)
    pairs = [np.empty((2, 0), np.int64)]
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        gaps = squares[part, None] + squares - 2 * (vectors[part] @ vectors.T)
        left, right = np.nonzero(gaps <= limit + _ROUNDING)
        left += start
        pairs.append(np.stack([images[left], images[right]])[:, left < right])
    return np.concatenate(pairs, axis=1)
