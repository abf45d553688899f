"""Marks of one server: proposals that it made, and what is added to the index."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from histo_index.search.marks.collect import collect, last_line
from histo_index.search.marks.file import append_mark, append_marks, read_marks
from histo_index.search.marks.propose import REPEATED_SHARE, Proposal, propose, repeat
from histo_index.search.marks.record import ANSWERS, PairMark, TileMark, Undo
from histo_index.search.marks.standing import Standing, Step, find_standing
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot

_KEPT = 2_000
_KEPT_STEPS = 200
# The last proposals, which may still be on a screen.
_ON_SCREEN = 50
_LONGEST_LABEL = 100


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A pair that a client was asked about.

    Attributes:
        proposal_id: what the client calls it.
        a: SHA-256 of one tile.
        b: of the other.
        proposal: how it was drawn.
    """

    proposal_id: str
    a: str
    b: str
    proposal: Proposal


class Marking:
    """Makes proposals and stores marks.

    What a client answers names a proposal of this server, so that no client decides how likely a
    pair was to be proposed.
    """

    def __init__(self, *, user: str | None, is_read_only: bool) -> None:
        """Start without proposals.

        Args:
            user: whose marks these are; None is nobody in particular.
            is_read_only: whether marks are refused.
        """
        self._user = user
        self._is_read_only = is_read_only
        self._generator = np.random.default_rng()
        self._lock = threading.Lock()
        self._proposed: OrderedDict[str, Proposed] = OrderedDict()
        self._steps: dict[str, Step] = {}

    def standing(self, snapshot: Snapshot) -> Standing:
        """Count the marks, and how sure the threshold is; what was fitted before is not again."""
        if len(self._steps) > _KEPT_STEPS:
            self._steps.clear()
        return find_standing(snapshot.opened, known=self._steps)

    def propose(self, snapshot: Snapshot, count: int) -> list[Proposed]:
        """Draw pairs that nobody marked, and some that only others did, and remember how.

        Raises:
            InputError: all tiles are of one group, or no pair is left.
        """
        self.require_writable()
        with self._lock:
            found = [self._remember(snapshot, one) for one in self._draw(snapshot, count)]
            while len(self._proposed) > _KEPT:
                self._proposed.popitem(last=False)
        return found

    def _draw(self, snapshot: Snapshot, count: int) -> list[Proposal]:
        marks = collect(read_marks(snapshot.opened.folder))
        shown = {(one.a, one.b) for one in list(self._proposed.values())[-_ON_SCREEN:]}
        shown |= {(b, a) for a, b in shown}
        answered = [] if self._user is None else marks.answered_by_others(self._user)
        answered = [one for one in answered if (one.a, one.b) not in shown]
        excluded = {*shown, *((one.a, one.b) for one in marks.pairs)}
        again = int(self._generator.binomial(count, REPEATED_SHARE))
        found = repeat(snapshot.opened, answered, self._generator, again) if answered else []
        if len(found) < count:
            threshold = snapshot.index.threshold(is_decisive=False)
            found += propose(
                snapshot.opened, threshold, self._generator, count - len(found), excluded=excluded
            )
        # In any order, so that nobody sees which ones are repeated.
        return [found[one] for one in self._generator.permutation(len(found)).tolist()]

    def mark_pair(self, snapshot: Snapshot, proposal_id: str, answer: str) -> None:
        """Store an answer to a proposal.

        Raises:
            RefusalError: there is no such proposal or answer, or marks are refused.
        """
        self.require_writable()
        if answer not in ANSWERS:
            raise RefusalError(422, f"answer: expected one of {', '.join(ANSWERS)}")
        with self._lock:
            proposed = self._proposed.get(proposal_id)
        if proposed is None:
            raise RefusalError(410, "this pair is no longer proposed; load the page again")
        mark = PairMark(
            a=proposed.a, b=proposed.b, answer=answer, drawn=proposed.proposal.drawn,
            selection=proposed.proposal.selection, user=self._user, time=_now(),
        )  # fmt: skip
        append_mark(snapshot.opened.folder, mark)

    def label_tiles(self, snapshot: Snapshot, tiles: list[str], label: str | None) -> int:
        """Store a label for tiles, or take it back with None.

        Raises:
            RefusalError: a tile is not there, the label is empty or long, or marks are refused.
        """
        self.require_writable()
        if label is not None and not 0 < len(label.strip()) <= _LONGEST_LABEL:
            raise RefusalError(422, f"label: expected 1 to {_LONGEST_LABEL} characters")
        text, time = None if label is None else label.strip(), _now()
        digests = [snapshot.opened.row(snapshot.row_of(tile))["sha256"] for tile in tiles]
        marks = [
            TileMark(tile=digest, label=text, user=self._user, time=time) for digest in digests
        ]
        append_marks(snapshot.opened.folder, marks)
        return len(marks)

    def undo(self, snapshot: Snapshot) -> bool:
        """Take the last mark of the user back; return whether there was one."""
        self.require_writable()
        with self._lock:
            line = last_line(read_marks(snapshot.opened.folder), self._user)
            if line is None:
                return False
            append_mark(snapshot.opened.folder, Undo(line=line, user=self._user, time=_now()))
        return True

    def require_writable(self) -> None:
        """Refuse if marks are refused.

        Raises:
            RefusalError: the server is read-only.
        """
        if self._is_read_only:
            raise RefusalError(403, "the server was started with --read-only")

    def _remember(self, snapshot: Snapshot, drawn: Proposal) -> Proposed:
        digests = snapshot.opened.rows["sha256"]
        found = Proposed(
            proposal_id=secrets.token_hex(16), a=digests[drawn.left].as_py(),
            b=digests[drawn.right].as_py(), proposal=drawn,
        )  # fmt: skip
        self._proposed[found.proposal_id] = found
        return found


def labels_of(snapshot: Snapshot, tiles: Sequence[str]) -> dict[str, str]:
    """Return the labels that users gave to tiles, by id; of several users separated by ` / `."""
    given: dict[str, list[str]] = {}
    for mark in collect(read_marks(snapshot.opened.folder)).labels:
        given.setdefault(mark.tile, []).append(mark.label or "")
    if not given:
        return {}
    digests = snapshot.opened.rows["sha256"]
    found = {tile: given.get(digests[snapshot.row_of(tile)].as_py()) for tile in tiles}
    return {tile: " / ".join(labels) for tile, labels in found.items() if labels}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
