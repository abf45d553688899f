"""The stored calibration of an index: threshold and probability by distance.

It is `calibration.json` beside the manifest and is replaced as a whole. Reading and using it needs
numpy only; `calibrate.py` and `otsu.py` fit it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from histo_index.errors import IndexFormatError, MismatchError
from histo_index.indexer.format.manifest import CALIBRATION_NAME
from histo_index.indexer.format.records import PLAIN
from histo_index.indexer.format.signed_json import read_if_there, seal, unseal
from histo_index.search.bootstrap import Estimate
from histo_index.search.calibration.curve import Curve
from histo_index.slides.scale import Scale
from histo_index.wording import counted

if TYPE_CHECKING:
    from histo_index.search.classification.model import ClassModel

# One more with every change of what is written; see docs/format.md.
CALIBRATION_VERSION: Final = 1
_KIND: Final = "histo-index calibration"
_REMEDY: Final = "run `histo-index calibrate` again, or `histo-index calibrate --clear`"
# Hex digits that are kept of a tile's hash: enough that no two of a billion tiles share them.
CONTENT_DIGITS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Histogram of the distances of the pairs.

    Attributes:
        edges: squared distances, rising, one more than there are bins.
        same: same pairs in each bin, each by its weight.
        different: different pairs in each bin, by its weight.
    """

    edges: list[float]
    same: list[float]
    different: list[float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold, a probability curve, and the data behind them.

    Attributes:
        fingerprint: of the encoder whose distances it is about.
        distance: how vectors are compared: `plain`, or `diffused` and by which fit.
        threshold: squared distance, 0…4, up to which a pair is the same.
        curve: probability of the same by distance, with its band; None without labels.
        objective: what the threshold optimises, in words.
        prior: share of same pairs that threshold and probabilities are made for.
        accuracy: share of right verdicts, each by a threshold that saw neither of its units.
        answers_unsure: whether verdicts may be unsure unless the user says otherwise.
        far_distance: an image whose nearest tile is further is novel.
        is_unlabelled: estimated without labels, so less reliable.
        source: where the pairs come from, without folders.
        unit: what the bootstrap resamples: `group` or `tile`.
        pairs: how many.
        same: how many of them are the same.
        tiles: how many tiles are in them.
        units: how many groups, or tiles, they are of.
        unused: rows of labels or pairs that could not be used.
        warnings: about the pairs, one line each.
        histogram: of their distances; None without labels.
        contents: start of the SHA-256 of each tile; None where they are too many.
        classes: which class a tile is of; None without classes, or with too few groups.
        created: when: UTC, ISO 8601, seconds.
        libraries: name to version of what made it.
        scale: of the tiles of the pairs; None if unknown.
    """

    fingerprint: str
    distance: str
    threshold: Estimate
    curve: Curve | None
    objective: str
    prior: float
    accuracy: Estimate
    answers_unsure: bool
    far_distance: float
    is_unlabelled: bool
    source: str
    unit: str
    pairs: int
    same: int
    tiles: int
    units: int
    unused: int
    warnings: list[str]
    histogram: Histogram | None
    contents: list[str] | None
    classes: "ClassModel | None"
    created: str
    libraries: Mapping[str, str]
    scale: Scale | None = None

    @property
    def origin(self) -> str:
        """Describe where the threshold comes from."""
        if self.is_unlabelled:
            return f"estimated without labels (less reliable) from {self.source}"
        units = f" of {counted(self.units, 'group')}" if self.unit == "group" else ""
        return (
            f"calibrated for {self.objective} on {counted(self.pairs, 'pair')} of "
            f"{counted(self.tiles, 'tile')}{units}: {self.source}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "threshold": asdict(self.threshold),
            "curve": None if self.curve is None else self.curve.as_dict(),
            "accuracy": asdict(self.accuracy),
            "histogram": None if self.histogram is None else asdict(self.histogram),
            "classes": None if self.classes is None else self.classes.as_dict(),
            "libraries": dict(self.libraries),
            "scale": None if self.scale is None else asdict(self.scale),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the result of `as_dict`."""
        curve, histogram, classes = values["curve"], values["histogram"], values["classes"]
        scale = values["scale"]
        made = {
            "threshold": Estimate(**values["threshold"]),
            "curve": None if curve is None else Curve.from_dict(curve),
            "accuracy": Estimate(**values["accuracy"]),
            "histogram": None if histogram is None else Histogram(**histogram),
            "classes": None if classes is None else _read_classes(classes),
            "scale": None if scale is None else Scale(**_as_tuples(scale)),
        }
        return cls(**{**values, **made})


def _read_classes(values: Mapping[str, Any]) -> "ClassModel":
    # Imported here: most calibrations have no class model, and a look-up starts fast.
    from histo_index.search.classification.model import ClassModel

    return ClassModel.from_dict(values)


def _as_tuples(values: Mapping[str, list[float]]) -> dict[str, tuple[float, float]]:
    return {name: (low, high) for name, (low, high) in values.items()}


def read_calibration(folder: Path, fingerprint: str, distance: str = PLAIN) -> Calibration | None:
    """Read the calibration of an index.

    Args:
        folder: the index.
        fingerprint: of its encoder.
        distance: how it compares vectors, as its manifest names it.

    Returns:
        The calibration; None if there is none.

    Raises:
        MismatchError: it was made for another encoder, or for other distances.
        IndexFormatError: it is damaged, too new, or cannot be read.
    """
    path = folder / CALIBRATION_NAME
    data = read_if_there(path, remedy=f"check its permissions, or {_REMEDY}")
    if data is None:
        return None
    body = unseal(path, data, kind=_KIND, newest=CALIBRATION_VERSION, remedy=_REMEDY)
    if body["fingerprint"] != fingerprint:
        raise MismatchError(
            f"{path}: stale: fitted to encoder {body['fingerprint']} but this index was built by "
            f"{fingerprint}; {_REMEDY}"
        )
    if body["distance"] != distance:
        raise MismatchError(
            f"{path}: stale: fitted to distances {body['distance']} but this index compares by "
            f"{distance}; {_REMEDY}"
        )
    try:
        return Calibration.from_dict(body)
    except (KeyError, TypeError) as error:
        raise IndexFormatError(
            f"{path}: written by another version of histo-index; {_REMEDY}"
        ) from error


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration of an index atomically; the next look-up uses it.

    Raises:
        MismatchError: the index is now of another encoder, or compares by another distance.
        LockedError: another process is writing the index.
        OSError: the disk is full or not writable; the old calibration stands.
    """
    # Imported here: look-ups never write.
    from histo_index.files import publish_bytes
    from histo_index.indexer.writing.commit import changing

    with changing(folder) as manifest:
        for kind, found, expected in (
            ("encoder", manifest.fingerprint, calibration.fingerprint),
            ("distance", manifest.distance_name, calibration.distance),
        ):
            if found != expected:
                raise MismatchError(
                    f"{folder} was rebuilt by {kind} {found} while the calibration was fitted to "
                    f"{expected}; run `histo-index calibrate` again"
                )
        data = seal(_KIND, calibration.as_dict(), version=CALIBRATION_VERSION)
        publish_bytes(folder / CALIBRATION_NAME, data)
