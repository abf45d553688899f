"""The report of an evaluation: what an index is worth on some labels, in figures and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from histo_index.indexer.reader import OpenIndex
from histo_index.report import charts
from histo_index.report.html import facts, fill
from histo_index.report.pca_map import Map, map_index
from histo_index.report.pictures import Pictures
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.result import Contender, Evaluation

# Pairs of copies and warnings shown; the JSON has more.
_MOST_TWINS: Final = 12
_MOST_KINDS: Final = 24
# How figures are called, and which direction is better.
_SPOKEN: Final = {
    "accuracy": ("Accuracy", "↑"),
    "balanced_accuracy": ("Balanced accuracy", "↑"),
    "cross_validated_accuracy": ("Accuracy, cross-validated", "↑"),
    "roc_auc": ("ROC-AUC", "↑"),
    "equal_error_rate": ("Equal error rate", "↓"),
    "brier": ("Brier score", "↓"),
    "expected_calibration_error": ("Expected calibration error", "↓"),
    "accuracy@1": ("Nearest neighbour right", "↑"),
    "vote@3": ("Majority of 3 right", "↑"),
    "vote@5": ("Majority of 5 right", "↑"),
    "vote@10": ("Majority of 10 right", "↑"),
    "map@5": ("mAP@5", "↑"),
    "map@10": ("mAP@10", "↑"),
    "recall@5": ("Any of 5 right", "↑"),
    "recall@10": ("Any of 10 right", "↑"),
}
_CARDS: Final = (
    ("pairs", "accuracy", "of the verdicts on pairs are right"),
    ("pairs", "roc_auc", "ROC-AUC of pairs: 0.5 is chance, 1 is perfect"),
    ("pairs", "equal_error_rate", "errors where both kinds are equally frequent"),
    ("micro", "accuracy@1", "of the nearest neighbours are of the tile's class"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A tile as the page shows it.

    Attributes:
        picture: a `data:` address; None if the file cannot be read.
        kind: its class; None if unknown.
        name: its image id; None unless names are wanted.
    """

    picture: str | None
    kind: str | None
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table of figures: the index, then each baseline."""

    key: str
    name: str
    better: str
    figures: list[Estimate | None]


@dataclass(frozen=True, kw_only=True)
class Lead:
    """By how much the index is ahead of a baseline."""

    baseline: str
    key: str
    name: str
    its: Estimate
    mine: Estimate
    lead: Estimate

    @property
    def is_ahead(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.lead.low is not None and self.lead.low > 0


def evaluation_page(
    index: OpenIndex,
    found: Evaluation,
    pictures: Pictures,
    *,
    training: Mapping[str, Any] | None = None,
    names: bool = False,
) -> str:
    """Write the report of an evaluation.

    Args:
        index: what was judged.
        found: what was found.
        pictures: reads the tiles.
        training: how the encoder was made, and on what.
        names: whether tiles and groups are named; else they are only shown and numbered.

    Returns:
        One HTML document.

    Raises:
        IndexFormatError: a vector that is needed is damaged.
    """
    dataset = found.dataset
    paths = index.rows["path"].take(pa.array(dataset.rows)).to_pylist()

    def tile(place: int) -> Shown:
        code = int(dataset.labels[place])
        return Shown(
            picture=pictures.of(paths[place]),
            kind=dataset.classes[code] if code >= 0 else None,
            name=dataset.names[place] if names else None,
        )

    def group(place: int) -> str:
        code = int(dataset.groups[place])
        return dataset.group_names[code] if names else f"group {code + 1}"

    return fill(
        "evaluation.html",
        title=f"What {index.folder.name} is worth",
        found=found,
        cards=_cards(found.index),
        tables=_tables(found),
        leads=_leads(found),
        charts=_charts(found),
        confusion=_confusion(found),
        tile=tile,
        group=group,
        twins=found.leakage.listed[:_MOST_TWINS],
        map=_map(map_index(index, dataset), found, names=names),
        provenance=_provenance(found, training or {}),
        pictures=pictures,
    )


def _cards(own: Contender) -> list[tuple[str, Estimate, str]]:
    places = {"pairs": own.pairs, **own.retrieval}
    return [
        (f"index.{place}.{name}", places[place][name], words)
        for place, name, words in _CARDS
        if name in places.get(place, {})
    ]


def _tables(found: Evaluation) -> list[tuple[str, list[Line]]]:
    """Lay out the figures of pairs and of neighbours, the index beside its baselines."""
    everyone = [found.index, *found.baselines]
    titles = {
        "pairs": "Pairs",
        "micro": "Neighbours, every tile counting the same",
        "macro": "Neighbours, every class counting the same",
    }
    tables = []
    for place, title in titles.items():
        columns = [c.pairs if place == "pairs" else c.retrieval.get(place, {}) for c in everyone]
        lines = [
            Line(
                key=f"{place}.{name}",
                name=_SPOKEN.get(name, (name, ""))[0],
                better=_SPOKEN.get(name, (name, ""))[1],
                figures=[column.get(name) for column in columns],
            )
            for name in columns[0]
        ]
        if lines:
            tables.append((title, lines))
    return tables


def _leads(found: Evaluation) -> list[Lead]:
    return [
        Lead(
            baseline=baseline.name,
            key=key,
            name=_SPOKEN[key][0],
            its=_figure(baseline, key),
            mine=_figure(found.index, key),
            lead=lead,
        )
        for baseline in found.baselines
        for key, lead in baseline.lead.items()
    ]


def _figure(contender: Contender, key: str) -> Estimate:
    return contender.pairs.get(key) or contender.retrieval["micro"][key]


def _charts(found: Evaluation) -> dict[str, Markup | None]:
    return {
        "distances": charts.distance_histogram(found),
        "roc": charts.roc(found),
        "det": charts.det(found),
        "reliability": charts.reliability(found.reliability) if found.reliability else None,
        "risk": charts.risk_coverage(found.risk_coverage),
    }


def _confusion(found: Evaluation) -> list[tuple[str, list[tuple[int, float]]]] | None:
    """Give each class its counts, and their shares of its tiles."""
    if found.confusion is None:
        return None
    sums = np.maximum(found.confusion.sum(axis=1), 1)
    return [
        (name, [(int(count), float(count / total)) for count in row])
        for name, row, total in zip(found.dataset.classes, found.confusion, sums, strict=True)
    ]


def _map(made: Map, found: Evaluation, *, names: bool) -> dict[str, Any]:
    """Draw the map by class and by group, with the names beside it."""
    dataset = found.dataset
    groups = [
        name if names else f"group {code + 1}" for code, name in enumerate(dataset.group_names)
    ]
    panels = []
    for name, kinds, codes in (
        ("class", dataset.classes, made.labels),
        ("group", groups if len(groups) < len(dataset.rows) else [], made.groups),
    ):
        if not kinds:
            continue
        alternative = f"Map of {len(made.points):,} tiles by {name}; {len(kinds)} of them."
        marks = [
            (charts.legend_mark(f"map-{name}", code), kind)
            for code, kind in enumerate(kinds[:_MOST_KINDS])
        ]
        chart = charts.scatter(f"map-{name}", made.points, codes, alternative)
        panels.append((name, chart, marks, max(0, len(kinds) - _MOST_KINDS)))
    return {"panels": panels, "made": made}


def _provenance(
    found: Evaluation, training: Mapping[str, Any]
) -> list[tuple[str, list[tuple[str, str]]]]:
    sections = {name: values or {} for name, values in found.provenance.items()}
    sections["encoder"] = {**sections["encoder"], "training": training}
    return [
        (name, facts(values) or [("", "none: run `histo-index calibrate`")])
        for name, values in sections.items()
    ]
