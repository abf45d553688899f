"""Score a whole list of pairs: every image looked up once, every row answered."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Float32, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.threshold import Threshold, Verdict
from histo_index.search.distance import indexed_pair_distances
from histo_index.search.inputs.pair_list import PairList
from histo_index.search.inputs.resolve import Resolved, Resolver
from histo_index.search.neighbours.novelty import are_far
from histo_index.search.tabular import Tabular


@dataclass(frozen=True, kw_only=True)
class PairScores(Tabular):
    """The answer to a pair list.

    Attributes:
        table: a row per input row, in input order: image_a, image_b, distance (float32, null where
            unanswered), threshold, verdict, status (`ok` or `error`), message; with a calibration
            also probability, probability_low and probability_high, after the verdict.
        threshold: what the verdicts rest on.
        pairs: P.
        answered: rows with a distance.
        same: verdicts that say so.
        unsure: verdicts that say so; without a threshold, all of them.
        encoded: images that had to be encoded for this.
        labelled: rows with a label and a verdict of same or different.
        has_labels: whether the list has labels at all.
        correct: of these, rows whose verdict agrees with the label.
        queries: the rows as the reference method writes them, or None.
        encoder_note: what is doubtful about the encoder of the index; None if nothing.
    """

    table: pa.Table
    threshold: Threshold
    pairs: int
    answered: int
    same: int
    unsure: int
    encoded: int
    labelled: int
    has_labels: bool
    correct: int
    queries: pa.Array | None
    encoder_note: str | None = None

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
    left, right = resolved.rows[codes]
    is_whole = np.ones(len(pairs), bool)
    is_whole[list(pairs.problems)] = False
    is_answered = (left >= 0) & (right >= 0) & is_whole
    distances = np.full(len(pairs), np.nan, np.float32)
    distances[is_answered] = indexed_pair_distances(
        index, resolved.extra, left[is_answered], right[is_answered]
    )
    messages = _messages(pairs, resolved, codes, is_answered)
    is_novel = np.append(
        np.zeros(len(index), bool), are_far(index, resolved.extra, threshold.far_distance)
    )  # [N + m]
    is_far = is_answered & (is_novel[left] | is_novel[right])
    for row in np.flatnonzero(is_far):
        messages[row] = "unsure: an image is unlike everything in the index"
    scores = _scores(
        pairs,
        distances,
        is_answered,
        messages,
        verdicts=threshold.verdicts(distances, is_far),
        threshold=threshold,
        encoded=resolved.encoded,
    )
    return replace(scores, encoder_note=index.manifest.encoder.note)


def _messages(
    pairs: PairList, resolved: Resolved, codes: Int64, is_answered: npt.NDArray[np.bool_]
) -> list[str]:
    messages = [""] * len(pairs)
    for row in np.flatnonzero(~is_answered):
        problem = pairs.problems.get(int(row))
        sides = (resolved.problems[code] for code in codes[:, row])
        messages[row] = problem or next(str(side) for side in sides if side)
    return messages


def _scores(
    pairs: PairList,
    distances: Float32,
    is_answered: npt.NDArray[np.bool_],
    messages: list[str],
    *,
    verdicts: pa.Array,
    threshold: Threshold,
    encoded: int,
) -> PairScores:
    verdicts = pc.if_else(is_answered, verdicts, pa.scalar(None, pa.string()))
    mask = ~is_answered
    limit = threshold.value
    table = pa.table(
        {
            "image_a": pairs.image_a,
            "image_b": pairs.image_b,
            "distance": pa.array(distances, mask=mask),
            "threshold": pa.array(np.full(len(pairs), limit or 0.0), mask=mask | (limit is None)),
            "verdict": verdicts,
            **_probabilities(threshold, distances, mask),
            "status": pc.if_else(is_answered, "ok", "error"),
            "message": pa.array(messages, pa.string()),
        }
    )
    is_same = _mask(pc.equal(verdicts, Verdict.SAME.value))
    labelled = correct = 0
    if pairs.labels is not None:
        labels = pc.fill_null(pairs.labels, -1).to_numpy()
        is_decided = (labels >= 0) & _mask(pc.not_equal(verdicts, Verdict.UNSURE.value))
        labelled = int(is_decided.sum())
        correct = int((is_decided & (is_same == (labels == 1))).sum())
    return PairScores(
        table=table,
        threshold=threshold,
        pairs=len(pairs),
        answered=int(is_answered.sum()),
        same=int(is_same.sum()),
        unsure=int(_mask(pc.equal(verdicts, Verdict.UNSURE.value)).sum()),
        encoded=encoded,
        labelled=labelled,
        has_labels=pairs.labels is not None,
        correct=correct,
        queries=pairs.queries,
    )


def _probabilities(
    threshold: Threshold, distances: Float32, mask: npt.NDArray[np.bool_]
) -> dict[str, pa.Array]:
    """Build the columns of probability and interval; none without a calibration."""
    found = threshold.likelihoods(distances)
    if found is None:
        return {}
    return {
        "probability": pa.array(found.probability, mask=mask),
        "probability_low": pa.array(found.low, mask=mask),
        "probability_high": pa.array(found.high, mask=mask),
    }


def _mask(claims: pa.Array) -> npt.NDArray[np.bool_]:
    """Convert Arrow booleans to numpy; null becomes false."""
    mask: npt.NDArray[np.bool_] = pc.fill_null(claims, False).to_numpy(zero_copy_only=False)
    return mask
