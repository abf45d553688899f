"""The report of an evaluation: metrics, charts and examples of one index on labelled tiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from histo_index.indexer.reader import OpenIndex
from histo_index.report import charts
from histo_index.report.html import encoder_facts, facts, fill
from histo_index.report.pca_map import Map, map_index
from histo_index.report.pictures import Pictures
from histo_index.search.bootstrap import Estimate
from histo_index.search.evaluation.examples import confused_of
from histo_index.search.evaluation.result import Contender, Evaluation

# Duplicates and kinds shown; the JSON has all.
_MAX_DUPLICATES: Final = 12
_MAX_KINDS: Final = 24
# Display name of each metric, and the better direction.
_METRICS: Final = {
    "accuracy": ("Accuracy", "↑"),
    "balanced_accuracy": ("Balanced accuracy", "↑"),
    "cross_validated_accuracy": ("Accuracy, cross-validated", "↑"),
    "roc_auc": ("ROC-AUC", "↑"),
    "equal_error_rate": ("Equal error rate", "↓"),
    "brier": ("Brier score", "↓"),
    "expected_calibration_error": ("Expected calibration error", "↓"),
    "accuracy@1": ("Accuracy of the nearest neighbour", "↑"),
    "vote@3": ("Majority vote of 3", "↑"),
    "vote@5": ("Majority vote of 5", "↑"),
    "vote@10": ("Majority vote of 10", "↑"),
    "map@5": ("mAP@5", "↑"),
    "map@10": ("mAP@10", "↑"),
    "recall@5": ("Recall@5", "↑"),
    "recall@10": ("Recall@10", "↑"),
}
_CARDS: Final = (
    ("pairs", "accuracy", "accuracy of the verdicts on pairs"),
    ("pairs", "roc_auc", "ROC-AUC of pairs: 0.5 is chance, 1 is perfect"),
    ("pairs", "equal_error_rate", "equal error rate of pairs"),
    ("micro", "accuracy@1", "accuracy of the nearest neighbour"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A tile on the page.

    Attributes:
        picture: a `data:` address; None if the file cannot be read.
        kind: its class; None if unknown.
        name: its image id; None in an anonymous report.
    """

    picture: str | None
    kind: str | None
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table of metrics: the index, then each baseline."""

    key: str
    name: str
    better: str
    figures: list[Estimate | None]


@dataclass(frozen=True, kw_only=True)
class Lead:
    """The lead of the index over a baseline."""

    baseline: str
    key: str
    name: str
    its: Estimate
    mine: Estimate
    lead: Estimate

    @property
    def is_ahead(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.lead.low is not None and self.lead.low > 0


def evaluation_page(
    index: OpenIndex,
    found: Evaluation,
    pictures: Pictures,
    *,
    training: Mapping[str, Any] | None = None,
    names: bool = False,
) -> str:
    """Format the report of an evaluation.

    Args:
        index: the evaluated index.
        found: the evaluation.
        pictures: reads the tiles.
        training: training record of the encoder.
        names: whether tiles and groups are named; otherwise groups are numbered.

    Returns:
        One HTML document.

    Raises:
        IndexFormatError: a vector that is needed is damaged.
    """
    dataset = found.dataset
    paths = index.rows["path"].take(pa.array(dataset.rows)).to_pylist()

    def tile(number: int) -> Shown:
        code = int(dataset.labels[number])
        return Shown(
            picture=pictures.of(paths[number]),
            kind=dataset.classes[code] if code >= 0 else None,
            name=dataset.names[number] if names else None,
        )

    def group(number: int) -> str:
        code = int(dataset.groups[number])
        return dataset.group_names[code] if names else f"group {code + 1}"

    return fill(
        "evaluation.html",
        title=f"Evaluation of {index.folder.name}",
        found=found,
        cards=_cards(found.index),
        tables=_tables(found),
        leads=_leads(found),
        charts=_charts(found),
        confusion=_confusion(found),
        confused=confused_of(found),
        tile=tile,
        group=group,
        twins=found.leakage.listed[:_MAX_DUPLICATES],
        map=_map(map_index(index, dataset), found, names=names),
        provenance=_provenance(found, training or {}),
        pictures=pictures,
    )


def _cards(own: Contender) -> list[tuple[str, Estimate, str]]:
    metrics = {"pairs": own.pairs, **own.retrieval}
    return [
        (f"index.{kind}.{name}", metrics[kind][name], words)
        for kind, name, words in _CARDS
        if name in metrics.get(kind, {})
    ]


def _tables(found: Evaluation) -> list[tuple[str, list[Line]]]:
    """Arrange the metrics of pairs and of neighbours, the index first, then the baselines."""
    everyone = [found.index, *found.baselines]
    titles = {
        "pairs": "Pairs",
        "micro": "Neighbours, averaged over tiles (micro)",
        "macro": "Neighbours, averaged over classes (macro)",
    }
    tables = []
    for kind, title in titles.items():
        columns = [c.pairs if kind == "pairs" else c.retrieval.get(kind, {}) for c in everyone]
        lines = [
            Line(
                key=f"{kind}.{name}",
                name=_METRICS.get(name, (name, ""))[0],
                better=_METRICS.get(name, (name, ""))[1],
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
            name=_METRICS[key][0],
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
    """Return counts and shares of each class."""
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
            for code, kind in enumerate(kinds[:_MAX_KINDS])
        ]
        chart = charts.scatter(f"map-{name}", made.points, codes, alternative)
        panels.append((name, chart, marks, max(0, len(kinds) - _MAX_KINDS)))
    return {"panels": panels, "made": made}


def _provenance(
    found: Evaluation, training: Mapping[str, Any]
) -> list[tuple[str, list[tuple[str, str]]]]:
    sections = {name: values or {} for name, values in found.provenance.items()}
    sections["encoder"] = {**encoder_facts(sections["encoder"]), "training": training}
    return [
        (name, facts(values) or [("", "none: run `histo-index calibrate`")])
        for name, values in sections.items()
    ]
