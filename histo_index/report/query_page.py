"""The report of a query: a pair of tiles, or the neighbours of some tiles."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from histo_index.indexer.reader import OpenIndex
from histo_index.report import charts
from histo_index.report.html import encoder_facts, facts, fill
from histo_index.report.pictures import Pictures, short_names
from histo_index.search.answers.neighbours import Neighbour
from histo_index.search.answers.pair import PairAnswer
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.threshold import Threshold


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query image.

    Attributes:
        name: the name that the user passed.
        file: its file, or None.
        neighbours: tiles of the index, nearest first.
    """

    name: str
    file: Path | None
    neighbours: Sequence[Neighbour]


def pair_page(
    index: OpenIndex,
    answer: PairAnswer,
    queries: Sequence[Query],
    calibration: Calibration | None,
    pictures: Pictures,
    *,
    names: bool = False,
) -> str:
    """Format the report of a pair: both tiles, their distance, and the neighbours of each.

    Args:
        index: the index that answered.
        answer: the answer.
        queries: both images, with their neighbours.
        calibration: calibration of the index, or None.
        pictures: reads the tiles.
        names: whether images are named.
    """
    chart = charts.placed_distances("distance", calibration, [answer.distance], answer.threshold)
    # The text before the colon names images.
    because = (answer.unsure_because or "").rpartition(": ")[2]
    return fill(
        "pair.html",
        title="Two tiles compared",
        answer=answer,
        because=because,
        chart=chart,
        origin=answer.threshold_from,
        **_shared(index, queries, calibration, pictures, names=names),
    )


def search_page(
    index: OpenIndex,
    queries: Sequence[Query],
    threshold: Threshold,
    pictures: Pictures,
    *,
    names: bool = False,
) -> str:
    """Format the report of a search: each image, its neighbours, and their distances.

    Args:
        index: the searched index.
        queries: the images, with their neighbours.
        threshold: decides the verdicts.
        pictures: reads the tiles.
        names: whether images are named.
    """
    found: list[Markup | None] = [
        charts.placed_distances(
            f"distances-{number}",
            threshold.calibration,
            [neighbour.distance for neighbour in image.neighbours],
            threshold.value,
        )
        if image.neighbours
        else None
        for number, image in enumerate(queries)
    ]
    return fill(
        "search.html",
        title="Similar tiles",
        charts=found,
        origin=_describe_threshold(threshold),
        **_shared(index, queries, threshold.calibration, pictures, names=names),
    )


def _describe_threshold(threshold: Threshold) -> str:
    if threshold.value is None:
        return f"Threshold: {threshold.origin}."
    return f"Up to {threshold.value:.4g} two tiles are called the same: {threshold.origin}."


def _shared(
    index: OpenIndex,
    queries: Sequence[Query],
    calibration: Calibration | None,
    pictures: Pictures,
    *,
    names: bool,
) -> dict[str, Any]:
    manifest = index.manifest
    return {
        "queries": queries,
        "names": names,
        "pictures": pictures,
        "shown_names": short_names([image.name for image in queries]),
        "kind": lambda neighbour: neighbour.label or neighbour.metadata.get("label"),
        "classes": lambda image: getattr(image.neighbours, "classes", None),
        "provenance": [
            ("encoder", facts(encoder_facts(asdict(manifest.encoder)))),
            ("index", facts({"name": index.folder.name, "generation": manifest.generation,
                             "created": manifest.created, "tiles": manifest.tiles})),
            ("calibration", facts(calibration.as_dict()) if calibration else [("", "none")]),
        ],
    }  # fmt: skip
