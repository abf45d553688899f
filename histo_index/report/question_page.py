"""The report of one question: two tiles compared, or what else looks like some tiles."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from histo_index.indexer.reader import OpenIndex
from histo_index.report import charts
from histo_index.report.html import facts, fill
from histo_index.report.pictures import Pictures, short_names
from histo_index.search.answers.neighbours import Neighbour
from histo_index.search.answers.pair import PairAnswer
from histo_index.search.calibration.calibration import Calibration
from histo_index.search.calibration.threshold import Threshold


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An image that was asked about.

    Attributes:
        name: as the user called it.
        file: where it lies; None where there is no file.
        neighbours: tiles of the index, nearest first.
    """

    name: str
    file: Path | None
    neighbours: Sequence[Neighbour]


def pair_page(
    index: OpenIndex,
    answer: PairAnswer,
    asked: Sequence[Asked],
    calibration: Calibration | None,
    pictures: Pictures,
    *,
    names: bool = False,
) -> str:
    """Write the report of a pair: the two tiles, where their distance lies, what is near each.

    Args:
        index: what answered.
        answer: the answer.
        asked: the two images, with their neighbours.
        calibration: of the index, if any.
        pictures: reads the tiles.
        names: whether images are named.
    """
    chart = charts.placed_distances("distance", calibration, [answer.distance], answer.threshold)
    # What comes before the colon names images.
    because = (answer.unsure_because or "").rpartition(": ")[2]
    return fill(
        "pair.html",
        title="Two tiles compared",
        answer=answer,
        because=because,
        chart=chart,
        origin=answer.threshold_from,
        **_shared(index, asked, calibration, pictures, names=names),
    )


def search_page(
    index: OpenIndex,
    asked: Sequence[Asked],
    threshold: Threshold,
    pictures: Pictures,
    *,
    names: bool = False,
) -> str:
    """Write the report of a search: each image, its neighbours, and where their distances lie.

    Args:
        index: what was searched.
        asked: the images, with their neighbours.
        threshold: what verdicts rest on.
        pictures: reads the tiles.
        names: whether images are named.
    """
    found: list[Markup | None] = [
        charts.placed_distances(
            f"distances-{place}",
            threshold.calibration,
            [neighbour.distance for neighbour in image.neighbours],
            threshold.value,
        )
        if image.neighbours
        else None
        for place, image in enumerate(asked)
    ]
    return fill(
        "search.html",
        title="What looks alike",
        charts=found,
        origin=threshold.origin,
        **_shared(index, asked, threshold.calibration, pictures, names=names),
    )


def _shared(
    index: OpenIndex,
    asked: Sequence[Asked],
    calibration: Calibration | None,
    pictures: Pictures,
    *,
    names: bool,
) -> dict[str, Any]:
    manifest = index.manifest
    return {
        "asked": asked,
        "names": names,
        "pictures": pictures,
        "shown_names": short_names([image.name for image in asked]),
        "kind": lambda neighbour: neighbour.metadata.get("label"),
        "provenance": [
            ("encoder", facts(asdict(manifest.encoder))),
            ("index", facts({"name": index.folder.name, "generation": manifest.generation,
                             "created": manifest.created, "tiles": manifest.tiles})),
            ("calibration", facts(calibration.as_dict()) if calibration else [("", "none")]),
        ],
    }  # fmt: skip
