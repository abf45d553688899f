"""The answers of pair, pairs and search as text, and as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from histo_index.commands.answers.classes import describe_classes
from histo_index.commands.features.notes import note_lines
from histo_index.commands.output import interval_text, probability_text, table_text
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.search.answers.neighbours import Answered
    from histo_index.search.answers.pair import PairAnswer
    from histo_index.search.answers.pair_list import PairScores
    from histo_index.search.calibration.threshold import Threshold


def describe_neighbours(
    rows: "Sequence[dict[str, Any]]", names: Sequence[str], found: "Sequence[Answered]"
) -> str:
    """Format neighbours as a table, then the classes of each query where there are any."""
    answers = [getattr(answer, "classes", None) for answer in found]
    classes = describe_classes(names, answers)
    return "\n\n".join([table_text(rows), *([classes] if classes else [])])


def describe_pair(answer: "PairAnswer") -> str:
    """Format the verdict of a pair and its evidence."""
    limit = "none" if answer.threshold is None else f"{answer.threshold:.4g}"
    is_silent = answer.is_calibrated or answer.threshold is None
    calibrated = "" if is_silent else " (not calibrated for these images)"
    lines = [
        f"{answer.verdict.value}   distance {answer.distance:.4f}, threshold {limit}",
        f"  images     {_origin(answer.image_a, answer.image_id_a)}, "
        f"{_origin(answer.image_b, answer.image_id_b)}",
        f"  threshold  {answer.threshold_from}{calibrated}",
    ]
    if answer.probability is not None:
        said = probability_text(answer.probability)
        ends = interval_text(answer.probability_low, answer.probability_high)
        share = "" if answer.prior is None else f", if {100 * answer.prior:.3g} % of pairs are same"
        lines.insert(1, f"  P(same)    {said} (95 % interval {ends}){share}")
    if answer.unsure_because is not None and answer.threshold is not None:
        lines.append(f"  unsure     {printable(answer.unsure_because)}")
    return "\n".join([*lines, *note_lines(answer.encoder_note)])


def _origin(name: str, image_id: str | None) -> str:
    if image_id is None:
        return f"{printable(name)} (newly encoded)"
    known = "indexed" if name == image_id else f"indexed as {printable(image_id)}"
    return f"{printable(name)} ({known})"


def describe_pairs(scores: "PairScores") -> str:
    """Format the summary of a scored list."""
    unsure = f", {scores.unsure:,} unsure" if scores.threshold.answers_unsure else ""
    lines = [
        f"{counted(scores.pairs, 'pair')}: {scores.answered:,} answered, "
        f"{scores.pairs - scores.answered:,} not; {scores.same:,} same{unsure}; "
        f"{counted(scores.encoded, 'image')} newly encoded",
        f"  threshold  {_limit(scores.threshold)}",
    ]
    if scores.has_labels and scores.accuracy is None:
        lines.append("  accuracy   none: no labelled pair has a verdict of same or different")
    if scores.accuracy is not None:
        lines.append(
            f"  accuracy   {scores.accuracy:.4f} ({scores.correct:,} of {scores.labelled:,} "
            "labelled pairs correct)"
        )
    return "\n".join([*lines, *note_lines(scores.encoder_note)])


def _limit(threshold: "Threshold") -> str:
    if threshold.value is None:
        return threshold.origin
    return f"{threshold.value:g}, {threshold.origin}"


def pairs_document(scores: "PairScores", *, with_rows: bool) -> dict[str, Any]:
    """Convert a scored list to a JSON document, optionally with its rows."""
    rows = {"rows": scores.table.to_pylist()} if with_rows else {}
    return {
        "pairs": scores.pairs,
        "answered": scores.answered,
        "same": scores.same,
        "unsure": scores.unsure,
        "encoded": scores.encoded,
        "threshold": scores.threshold.value,
        "threshold_from": scores.threshold.origin,
        "labelled": scores.labelled,
        "correct": scores.correct,
        "accuracy": scores.accuracy,
        "encoder_note": scores.encoder_note,
        **rows,
    }
