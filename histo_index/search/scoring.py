"""Score a whole list of pairs: every image looked up once, every row answered."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.indexer.opened import OpenIndex
from histo_index.search.distances import pair_distances
from histo_index.search.pairlist import PairList
from histo_index.search.resolving import Halves, Resolved, Resolver, Rows, take_vectors
from histo_index.search.verdicts import Threshold, Verdict

Floats = npt.NDArray[np.float32]

# Pairs at a time: their vectors, 8 MB in float16 and 16 MB in float32 at 2048 dimensions, are
# memory that a thread gets back for its next piece; larger pieces pay for fresh pages each time.
_CHUNK_PAIRS: Final = 1024
# Below this many pairs numpy is done before FAISS, which is four times as fast, is even imported.
_FEW_PAIRS: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """The answer to a pair list.

    Attributes:
        table: a row per input row, in input order: image_a, image_b, distance (float32, null where
            unanswered), threshold, verdict, status (`ok` or `error`), message.
        threshold: what the verdicts rest on.
        pairs: P.
        answered: rows with a distance.
        same: verdicts that say so.
        encoded: images that had to be encoded for this.
        labelled: rows with a label and a verdict of same or different.
        has_labels: whether the list has labels at all.
        correct: of them right; their share is the reference method's c-index.
        queries: the rows as the reference method writes them, or None.
    """

    table: pa.Table
    threshold: Threshold
    pairs: int
    answered: int
    same: int
    encoded: int
    labelled: int
    has_labels: bool
    correct: int
    queries: pa.Array | None

    @property
    def accuracy(self) -> float | None:
        """Correct verdicts by labelled pairs, 0…1; None without labels."""
        return self.correct / self.labelled if self.labelled else None


def score_pairs(
    index: OpenIndex, pairs: PairList, resolver: Resolver, threshold: Threshold
) -> PairScores:
    """Score every pair of a list.

    Args:
        index: where the vectors are.
        pairs: what to score; rows with a problem are answered with it.
        resolver: finds names, and encodes each unseen image once.
        threshold: at or below it a pair is the same.

    Raises:
        IndexFormatError: a vector that is needed is damaged.
    """
    both = pa.concat_arrays([pairs.image_a, pairs.image_b]).dictionary_encode()
    names = both.dictionary.to_pylist()
    codes = both.indices.to_numpy().astype(np.int64).reshape(2, len(pairs))
    resolved = resolver.resolve(names)
    left, right = resolved.places[codes]
    is_whole = np.ones(len(pairs), bool)
    is_whole[list(pairs.problems)] = False
    is_answered = (left >= 0) & (right >= 0) & is_whole
    distances = np.full(len(pairs), np.nan, np.float32)
    distances[is_answered] = indexed_pair_distances(
        index, resolved.extra, left[is_answered], right[is_answered]
    )
    messages = _messages(pairs, resolved, codes, is_answered)
    return _scores(
        pairs, distances, is_answered, messages, threshold=threshold, encoded=resolved.encoded
    )


def indexed_pair_distances(index: OpenIndex, extra: Halves, left: Rows, right: Rows) -> Floats:
    """Measure distances between stored vectors, in memory that does not grow with the list.

    Pairs are taken in the order of their first image, so that its vector is read once;
    `pair_distances` on gathered vectors is the plain form, and gives the same.

    Args:
        index: holds places below N.
        extra: float16 [m, D], holds places from N on.
        left: int64 [P], place of the first image of each pair.
        right: int64 [P], place of the second.

    Returns:
        float32 [P].
    """
    distances = np.empty(len(left), np.float32)
    order = np.argsort(left, kind="stable")
    parts = [order[start : start + _CHUNK_PAIRS] for start in range(0, len(order), _CHUNK_PAIRS)]
    if len(left) < _FEW_PAIRS:
        for part in parts:
            distances[part] = pair_distances(
                take_vectors(index, extra, left[part]), take_vectors(index, extra, right[part])
            )
        return distances
    from histo_index.indexer.faiss_flat import indexed_distances, start_workers, to_float32

    def score(part: Rows) -> None:
        places, codes = np.unique(np.concatenate([left[part], right[part]]), return_inverse=True)
        vectors = to_float32(take_vectors(index, extra, places))
        distances[part] = indexed_distances(vectors, codes[: len(part)], codes[len(part) :])

    with start_workers() as workers:
        for _ in workers.map(score, parts):
            pass
    return distances


def _messages(
    pairs: PairList, resolved: Resolved, codes: Rows, is_answered: npt.NDArray[np.bool_]
) -> list[str]:
    messages = [""] * len(pairs)
    for row in np.flatnonzero(~is_answered):
        problem = pairs.problems.get(int(row))
        sides = (resolved.problems[code] for code in codes[:, row])
        messages[row] = problem or next(str(side) for side in sides if side)
    return messages


def _scores(
    pairs: PairList,
    distances: Floats,
    is_answered: npt.NDArray[np.bool_],
    messages: list[str],
    *,
    threshold: Threshold,
    encoded: int,
) -> PairScores:
    verdicts = pc.if_else(is_answered, threshold.judge(distances), pa.scalar(None, pa.string()))
    mask = ~is_answered
    limit = threshold.value
    table = pa.table(
        {
            "image_a": pairs.image_a,
            "image_b": pairs.image_b,
            "distance": pa.array(distances, mask=mask),
            "threshold": pa.array(np.full(len(pairs), limit or 0.0), mask=mask | (limit is None)),
            "verdict": verdicts,
            "status": pc.if_else(is_answered, "ok", "error"),
            "message": pa.array(messages, pa.string()),
        }
    )
    is_same = _mask(pc.equal(verdicts, Verdict.SAME.value))
    labelled = correct = 0
    if pairs.labels is not None:
        labels = pc.fill_null(pairs.labels, -1).to_numpy()
        is_judged = (labels >= 0) & _mask(pc.not_equal(verdicts, Verdict.UNSURE.value))
        labelled = int(is_judged.sum())
        correct = int((is_judged & (is_same == (labels == 1))).sum())
    return PairScores(
        table=table,
        threshold=threshold,
        pairs=len(pairs),
        answered=int(is_answered.sum()),
        same=int(is_same.sum()),
        encoded=encoded,
        labelled=labelled,
        has_labels=pairs.labels is not None,
        correct=correct,
        queries=pairs.queries,
    )


def _mask(claims: pa.Array) -> npt.NDArray[np.bool_]:
    """Take Arrow booleans to numpy; unknown counts as false."""
    mask: npt.NDArray[np.bool_] = pc.fill_null(claims, False).to_numpy(zero_copy_only=False)
    return mask
