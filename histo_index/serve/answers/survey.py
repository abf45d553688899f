"""What may be wrong with an index: copies across groups, isolated tiles, rejected images."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from histo_index.errors import InputError
from histo_index.indexer.writing.commit import count_reasons, read_rejected
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.inputs.labels import SLIDE_COLUMN, own_group_column
from histo_index.serve.state.snapshot import Snapshot, plain

# Comparing all tiles with all takes minutes beyond this.
MOST_TILES: Final = 50_000
_MOST_SHOWN: Final = 100
_OUTLIERS: Final = 24


@dataclass(frozen=True, kw_only=True)
class Found:
    """A tile of a survey.

    Attributes:
        id: of the tile.
        kind: `first`, `exact` or `near` of a copy; empty for an outlier.
        distance: to the first copy, or to the nearest other tile.
        nearest: id of that tile.
        columns: the user's, private ones left out.
    """

    id: str
    kind: str
    distance: float
    nearest: str
    columns: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Tiles that are copies of the first of them.

    Attributes:
        tiles: the first one first.
        spans_groups: whether they are of several patients or slides.
    """

    tiles: Sequence[Found]
    spans_groups: bool


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What may be wrong with an index.

    Attributes:
        copies: the first sets of copies, those across groups first.
        sets: how many there are.
        spanning: how many of them are across groups.
        outliers: the most isolated tiles, the furthest first.
        rejected: inputs that could not be used, by kind of reason.
        groups: what they are groups of, `groups` or `slides`; None if the index has no groups.
    """

    copies: Sequence[Copies]
    sets: int
    spanning: int
    outliers: Sequence[Found]
    rejected: Mapping[str, int]
    groups: str | None


class Surveys:
    """Makes the survey of each state of the index once, on its own thread."""

    def __init__(self, *, most_tiles: int = MOST_TILES) -> None:
        """Start nothing yet; an index with more tiles is refused."""
        self._most_tiles = most_tiles
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="survey")
        self._lock = threading.Lock()
        self._tag = ""
        self._made: Future[Survey] | None = None

    def get(self, snapshot: Snapshot, wait_s: float) -> Survey | None:
        """Return the survey; None while it is being made.

        Raises:
            HistoIndexError: the index is too large, or a part of it is damaged.
        """
        if len(snapshot.index) > self._most_tiles:
            raise InputError(
                f"more than {self._most_tiles:,} tiles are not surveyed here; run `histo-index "
                "duplicates` and `histo-index outliers`"
            )
        with self._lock:
            if self._made is None or self._tag != snapshot.tag:
                self._tag = snapshot.tag
                self._made = self._threads.submit(make_survey, snapshot)
            made = self._made
        try:
            return made.result(wait_s)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Wait for the survey that is being made."""
        self._threads.shutdown(cancel_futures=True)


def make_survey(snapshot: Snapshot, *, most_shown: int = _MOST_SHOWN) -> Survey:
    """Compare each tile with the nearest; see `Contents.duplicates` and `Contents.outliers`."""
    files = TileFiles(root=snapshot.root, read=snapshot.engine.read_greys)
    rows = snapshot.index.duplicates(tiles=files).to_pylist()
    column = own_group_column(snapshot.opened)
    copies = [
        _copies(snapshot, list(members), column)
        for _, members in groupby(rows, lambda row: row["group"])
    ]
    outliers = (
        snapshot.index.outliers(count=_OUTLIERS).to_pylist() if len(snapshot.index) > 1 else []
    )
    manifest = snapshot.opened.manifest
    reasons = count_reasons(read_rejected(snapshot.opened.folder, manifest))
    return Survey(
        copies=sorted(copies, key=lambda one: not one.spans_groups)[:most_shown],
        sets=len(copies),
        spanning=sum(one.spans_groups for one in copies),
        outliers=[_found(snapshot, row, row["nearest"]) for row in outliers],
        rejected={plain(kind): count for kind, count in reasons.items()},
        groups=_name_groups(snapshot, column),
    )


def _name_groups(snapshot: Snapshot, column: str) -> str | None:
    if column not in snapshot.opened.rows.column_names:
        return None
    return "slides" if column == SLIDE_COLUMN else "groups"


def _copies(snapshot: Snapshot, rows: list[dict[str, Any]], column: str) -> Copies:
    first = rows[0]["image_id"]
    groups = {row.get(f"tile_{column}", row.get(column)) for row in rows}
    return Copies(
        tiles=[_found(snapshot, row, first) for row in rows], spans_groups=len(groups) > 1
    )


def _found(snapshot: Snapshot, row: dict[str, Any], nearest: str) -> Found:
    # The answers rename columns of the user that have the names of their own.
    own = {name.removeprefix("tile_"): value for name, value in row.items()}
    columns = {**own, **{name: row[name] for name in row if f"tile_{name}" not in row}}
    return Found(
        id=snapshot.ids.id_of_name(row["image_id"]),
        kind=row.get("kind", ""),
        distance=row["distance"],
        nearest=snapshot.ids.id_of_name(nearest),
        columns={
            name: value
            for name, value in snapshot.visible(columns).items()
            if name not in ("kind", "distance", "rank", "nearest", "pixels")
        },
    )
