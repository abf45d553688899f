"""What the marks of an index amount to: undone ones left out, the last word of each user."""

from collections.abc import Sequence
from dataclasses import dataclass

from histo_index.search.marks.record import SKIPPED, Mark, PairMark, TileMark, Undo


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The marks that stand.

    Attributes:
        pairs: of each pair and user the last answer, in the order of the file.
        labels: of each tile and user the last label, in the order of the file.
        damaged: lines that cannot be read.
    """

    pairs: Sequence[PairMark]
    labels: Sequence[TileMark]
    damaged: int

    def answers(self) -> dict[frozenset[str], list[PairMark]]:
        """Return all answers about each pair of contents; skipped pairs have none."""
        found: dict[frozenset[str], list[PairMark]] = {}
        for mark in self.pairs:
            if mark.answer != SKIPPED:
                found.setdefault(frozenset((mark.a, mark.b)), []).append(mark)
        return found

    def disagreements(self) -> list[list[PairMark]]:
        """List the answers about each pair that users answered differently."""
        return [marks for marks in self.answers().values() if len({m.answer for m in marks}) > 1]

    def answered_by_two(self) -> int:
        """Count the pairs that several users answered."""
        return sum(len(marks) > 1 for marks in self.answers().values())

    def answered_by_others(self, user: str) -> list[PairMark]:
        """List the pairs that others answered and a user did not see, each once."""
        seen = {frozenset((mark.a, mark.b)) for mark in self.pairs if mark.user == user}
        found: dict[frozenset[str], PairMark] = {}
        for mark in self.pairs:
            key = frozenset((mark.a, mark.b))
            if mark.answer != SKIPPED and key not in seen:
                found.setdefault(key, mark)
        return list(found.values())

    def agreed(self) -> list[PairMark]:
        """List the pairs with an answer on which all agree, each once."""
        return [
            marks[0] for marks in self.answers().values() if len({m.answer for m in marks}) == 1
        ]

    def agreed_labels(self) -> dict[str, str]:
        """Return the label of each tile, by SHA-256, on which all users agree."""
        given: dict[str, set[str]] = {}
        for mark in self.labels:
            given.setdefault(mark.tile, set()).add(mark.label or "")
        return {tile: labels.pop() for tile, labels in given.items() if len(labels) == 1}


def collect(marks: Sequence[Mark | None]) -> Collected:
    """Leave out what was undone or said again.

    Args:
        marks: by line, as `read_marks` returns them.
    """
    undone = {mark.line for mark in marks if isinstance(mark, Undo)}
    pairs: dict[tuple[frozenset[str], str | None], PairMark] = {}
    labels: dict[tuple[str, str | None], TileMark] = {}
    for line, mark in enumerate(marks, start=1):
        if line in undone:
            continue
        if isinstance(mark, PairMark):
            pairs[frozenset((mark.a, mark.b)), mark.user] = mark
        elif isinstance(mark, TileMark):
            labels[mark.tile, mark.user] = mark
    return Collected(
        pairs=list(pairs.values()),
        labels=[mark for mark in labels.values() if mark.label is not None],
        damaged=sum(mark is None for mark in marks),
    )


def last_line(marks: Sequence[Mark | None], user: str | None) -> int | None:
    """Return the line of a user's last answer about a pair that is not undone; None without one."""
    undone = {mark.line for mark in marks if isinstance(mark, Undo)}
    lines = [
        line
        for line, mark in enumerate(marks, start=1)
        if isinstance(mark, PairMark) and mark.user == user and line not in undone
    ]
    return lines[-1] if lines else None
