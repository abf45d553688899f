"""Pairs on which users disagree, for the page on which pairs are marked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from histo_index.search.marks.collect import collect
from histo_index.search.marks.file import read_marks
from histo_index.serve.state.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """A pair on which users disagree.

    Attributes:
        a: id of one tile.
        b: of the other.
        answers: who answered what; None is nobody in particular.
    """

    a: str
    b: str
    answers: Sequence[tuple[str | None, str]]


def find_disputes(snapshot: Snapshot, *, most: int = 12) -> list[Dispute]:
    """List the last pairs on which users disagree, the last first.

    Pairs of tiles that left the index are not among them.

    Args:
        snapshot: whose marks are read.
        most: how many are listed.
    """
    disputed = collect(read_marks(snapshot.opened.folder)).disagreements()
    contents = [one for marks in disputed for one in (marks[0].a, marks[0].b)]
    ends = snapshot.opened.find_contents(pa.array(contents, pa.string())).reshape(-1, 2).tolist()
    found = [
        Dispute(
            a=snapshot.ids.id_of(a), b=snapshot.ids.id_of(b),
            answers=[(mark.user, mark.answer) for mark in marks],
        )
        for marks, (a, b) in zip(disputed, ends, strict=True)
        if min(a, b) >= 0
    ]  # fmt: skip
    return found[::-1][:most]
