"""Answer a pair: are two images of the same category, and how sure is that."""

from dataclasses import dataclass
from typing import Any

from histo_index.search.inputs.resolve import Located
from histo_index.serve.answers.locate import locate, scale_notes
from histo_index.serve.state.snapshot import Snapshot, side_in_um
from histo_index.serve.state.uploads import PREFIX, Uploads


@dataclass(frozen=True, kw_only=True)
class Side:
    """One image of a pair.

    Attributes:
        id: of the tile or upload.
        width: in pixels.
        height: in pixels.
        side_um: longest side in µm; None if the scale is unknown.
        columns: the user's, private ones left out; empty for an upload.
    """

    id: str
    width: int
    height: int
    side_um: float | None
    columns: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The answer to a pair.

    Attributes:
        a: the first image.
        b: the second.
        verdict: `same`, `different` or `unsure`.
        distance: squared distance, 0…4; smaller is more alike.
        threshold: at or below it the verdict is same; None if there is none.
        threshold_from: who chose it, on what.
        probability: of being the same, 0…1; None unless calibrated.
        probability_low: lower end of its 95 % interval.
        probability_high: upper end.
        prior: share of same pairs, 0…1, that the probability holds for; None without one.
        unsure_because: why the verdict is unsure; None if it is not.
        scale_notes: what to say about the scale of the images, a line each.
    """

    a: Side
    b: Side
    verdict: str
    distance: float
    threshold: float | None
    threshold_from: str
    probability: float | None
    probability_low: float | None
    probability_high: float | None
    prior: float | None
    unsure_because: str | None
    scale_notes: list[str]


def compare(snapshot: Snapshot, uploads: Uploads, a: str, b: str) -> Compared:
    """Compare two images by their ids.

    Raises:
        RefusalError: there is no such tile, or an upload is no longer held.
        HistoIndexError: a part of the index is damaged.
    """
    images = [locate(snapshot, uploads, given) for given in (a, b)]
    found = snapshot.index.pair(*images)
    because = found.unsure_because
    if because and ": " in because:
        because = f"an image is {because.rpartition(': ')[2]}"
    sides = [
        _side(snapshot, uploads, given, image) for given, image in zip((a, b), images, strict=True)
    ]
    return Compared(
        a=sides[0], b=sides[1], verdict=found.verdict.value, distance=found.distance,
        threshold=found.threshold, threshold_from=found.threshold_from,
        probability=found.probability, probability_low=found.probability_low,
        probability_high=found.probability_high, prior=found.prior, unsure_because=because,
        scale_notes=scale_notes(snapshot, images),
    )  # fmt: skip


def _side(snapshot: Snapshot, uploads: Uploads, given: str, image: Located) -> Side:
    default_mpp = snapshot.opened.manifest.encoder.mpp
    if given.startswith(PREFIX):
        upload = uploads.get(given)
        side_um = upload.mpp and upload.mpp * max(upload.width, upload.height)
        return Side(id=given, width=upload.width, height=upload.height, side_um=side_um, columns={})
    assert image.row is not None
    facts = snapshot.opened.row(image.row)
    return Side(
        id=given, width=facts["width"], height=facts["height"],
        side_um=side_in_um(facts, default_mpp), columns=snapshot.facts(image.row),
    )  # fmt: skip
