"""The classes of a tile as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from histo_index.commands.output import align, interval_text, probability_text
from histo_index.wording import printable

if TYPE_CHECKING:
    from histo_index.errors import HistoIndexError
    from histo_index.search.classification.answer import ClassAnswer

CONDITION: Final = "for a tile of a new group, if its class is among those labelled here"
_WITH_INTERVALS: Final = "; 95 % intervals"
_WITHOUT_INTERVALS: Final = "; no intervals: fewer than ten groups are labelled"
# Of more queries only the likeliest class is printed, a line each.
_MOST_TABLES: Final = 5


def describe_classes(
    names: Sequence[str], found: "Sequence[ClassAnswer | HistoIndexError | None]"
) -> str:
    """Format the classes of each query; nothing for queries without an answer."""
    from histo_index.search.classification.answer import ClassAnswer

    is_long = len(names) > _MOST_TABLES
    parts, chances = [], []
    for name, answer in zip(names, found, strict=True):
        if answer is None:
            continue
        lines = _describe(name, answer)
        parts += lines[:1] if is_long else lines
        chances += list(answer.chances) if isinstance(answer, ClassAnswer) else []
    if chances:
        has_intervals = chances[0].low is not None
        shown = "" if is_long else _WITH_INTERVALS if has_intervals else _WITHOUT_INTERVALS
        parts.append(CONDITION + shown)
    return "\n".join(parts)


def _novelty(answer: "ClassAnswer") -> list[str]:
    """Say how often a tile of a missing class is found, if this one is unlike all."""
    if not answer.is_novel or answer.detected is None:
        return []
    return [
        f"  unlike everything labelled here: this finds {100 * answer.detected:.0f} % of tiles of "
        "a class that is missing, at 5 % false alarms"
    ]


def _describe(name: str, answer: "ClassAnswer | HistoIndexError") -> list[str]:
    """Format the classes of a query: a heading, then a line for each class."""
    from histo_index.search.classification.answer import ClassAnswer

    if not isinstance(answer, ClassAnswer):
        # Most errors name the image themselves.
        return [f"{printable(name)}: {printable(answer).removeprefix(f'{printable(name)}: ')}"]
    if answer.problem is not None:
        return [f"{printable(name)}: no class probabilities: {printable(answer.problem)}"]
    best = answer.chances[0]
    head = f"{printable(name)}: {printable(best.label)} {probability_text(best.probability)}"
    body = align(
        [
            [
                "",
                printable(one.label),
                probability_text(one.probability),
                interval_text(one.low, one.high),
            ]
            for one in answer.chances
        ]
    )
    lines = [
        f"{head}{', unlike everything labelled here' if answer.is_novel else ''}",
        *body,
        *_novelty(answer),
    ]
    if answer.unscored:
        unscored = ", ".join(map(printable, answer.unscored))
        lines.append(f"  not scored, labelled in one group only: {unscored}")
    return lines
