"""Answer a search: the nearest tiles of an image, or of several examples."""

from dataclasses import dataclass
from typing import Any

from histo_index.search.answers.neighbours import Nearest, Neighbour
from histo_index.search.answers.searching import SearchOptions
from histo_index.search.classification.answer import ClassAnswer
from histo_index.search.copies.tile_files import TileFiles
from histo_index.search.inputs.resolve import Located
from histo_index.serve.answers.asked import Asked
from histo_index.serve.answers.examples import search_examples
from histo_index.serve.answers.locate import locate, scale_notes
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.snapshot import Snapshot, plain
from histo_index.serve.state.uploads import Uploads
from histo_index.wording import printable


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A tile that a search found.

    Attributes:
        rank: 1 is the first.
        id: of the tile.
        distance: to the query, or to the nearest example that is meant; 0…4.
        verdict: `same`, `different`, `unsure`, or None without a threshold.
        label: its class, if known.
        probability: that the query is of this class, 0…1; None where there is none.
        probability_low: lower end of its 95 % interval.
        probability_high: upper end.
        columns: the user's, private ones left out.
    """

    rank: int
    id: str
    distance: float
    verdict: str | None
    label: str | None
    probability: float | None
    probability_low: float | None
    probability_high: float | None
    columns: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer to a search.

    Attributes:
        hits: in order of distance; with examples of what is not meant, of the distance to what is
            meant in relation to that to what is not.
        is_by_distance: whether the order is that of the distance.
        threshold: distance up to which a tile is called the same; None without one.
        threshold_from: where it comes from.
        same: how many of the hits, from the first, are within the threshold; None without one, or
            where the order is another.
        classes: what the query is; None without a class model.
        scale_notes: what to say about the scale of the examples, a line each.
        parts: how many parts of the index answered, such as `3 of 4`; None for all.
    """

    hits: list[Hit]
    is_by_distance: bool
    threshold: float | None
    threshold_from: str
    same: int | None
    classes: ClassAnswer | None
    scale_notes: list[str]
    parts: str | None


def find(snapshot: Snapshot, uploads: Uploads, asked: Asked) -> Found:
    """Answer a search.

    Raises:
        RefusalError: there is no example, or one is not there.
        HistoIndexError: the filters do not fit, or a part of the index is damaged.
    """
    if not asked.like:
        raise RefusalError(422, "no example: pass `id` of a tile, or an image")
    _require_usable(asked, relax(snapshot, uploads, asked))
    like = [locate(snapshot, uploads, given) for given in asked.like]
    unlike = [locate(snapshot, uploads, given) for given in asked.unlike]
    options = SearchOptions(
        k=asked.k, conditions=asked.conditions, exclude_same=asked.exclude_same, values=asked.own,
        near_duplicates="drop" if asked.drop_copies else "keep",
    )  # fmt: skip
    is_single = asked.is_single
    with snapshot.counting() as count:
        if is_single:
            near = _search_one(snapshot, like[0], options)
        else:
            near = search_examples(snapshot, like, unlike, options)
    threshold = snapshot.index.threshold(is_decisive=False)
    same = None
    if is_single and threshold.value is not None:
        same = sum(neighbour.distance <= threshold.value for neighbour in near)
    return Found(
        hits=[_hit(snapshot, neighbour) for neighbour in near],
        is_by_distance=is_single,
        threshold=threshold.value,
        threshold_from=threshold.origin,
        same=same,
        classes=near.classes,
        scale_notes=scale_notes(snapshot, [*like, *unlike]),
        parts=count.label if count else None,
    )


def _search_one(snapshot: Snapshot, query: Located, options: SearchOptions) -> Nearest:
    files = TileFiles(root=snapshot.root, read=snapshot.engine.read_greys)
    (found,) = snapshot.index.search_each([query], options, tiles=files)
    if not isinstance(found, Nearest):
        raise found
    return found


def relax(snapshot: Snapshot, uploads: Uploads, asked: Asked) -> Asked:
    """Drop what the examples do not allow.

    That is to leave out tiles with the same value in a column, if an example has none there or
    nobody gave that of an upload; and to leave out copies with several examples.
    """
    rows = [locate(snapshot, uploads, given).row for given in asked.like if asked.exclude_same]
    table = snapshot.opened.rows
    kept = tuple(
        name
        for name in asked.exclude_same
        if all(name in asked.own if row is None else table[name][row].is_valid for row in rows)
    )
    return asked.change(
        exclude_same=kept, own={name: asked.own[name] for name in kept if name in asked.own},
        drop_copies=asked.drop_copies and asked.is_single,
    )  # fmt: skip


def _require_usable(asked: Asked, relaxed: Asked) -> None:
    dropped = [name for name in asked.exclude_same if name not in relaxed.exclude_same]
    if dropped:
        raise RefusalError(
            422, f"exclude_same={printable(dropped[0])}: an example has no such value; pass that "
            "of an upload as `own`",
        )  # fmt: skip
    if asked.drop_copies and not relaxed.drop_copies:
        raise RefusalError(422, "copies=drop: works with one example; pass one `id`")


def _hit(snapshot: Snapshot, neighbour: Neighbour) -> Hit:
    named = {"image_id": neighbour.image_id, "path": neighbour.path}
    return Hit(
        rank=neighbour.rank,
        id=snapshot.ids.id_of_name(neighbour.image_id),
        distance=neighbour.distance,
        verdict=neighbour.verdict and neighbour.verdict.value,
        label=plain(neighbour.label),
        probability=neighbour.probability,
        probability_low=neighbour.probability_low,
        probability_high=neighbour.probability_high,
        columns=snapshot.visible({**named, **neighbour.metadata}),
    )
