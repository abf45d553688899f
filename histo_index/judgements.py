"""How calibrations and evaluations look on a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.errors import counted, printable

if TYPE_CHECKING:
    from histo_index.search.calibration import Calibration
    from histo_index.search.evaluation import Contender, Evaluation
    from histo_index.search.resampling import Estimate

_UNKNOWN: Final = "-"


def describe_calibration(found: "Calibration", index: Path) -> str:
    """Say what an index now decides by, and how far to trust it."""
    units = "groups" if found.unit == "group" else "tiles"
    accuracy = "unknown without labels; no probabilities either"
    if not found.is_unlabelled:
        accuracy = f"{_ends(found.accuracy, '.3f')}, of pairs whose {units} chose no threshold"
    lines = [
        f"{index}: {found.origin}",
        f"  threshold  {_ends(found.threshold, '.4g')}, where {found.prior:.3g} of the pairs "
        "in use are the same",
        f"  accuracy   {accuracy}",
        f"  unsure     {'a verdict' if found.answers_unsure else 'no verdict unless asked for'}",
    ]
    return "\n".join([*lines, *(f"  doubtful   {printable(line)}" for line in found.warnings)])


def describe_evaluation(found: "Evaluation") -> str:
    """Say what an index is worth, beside what it has to beat, and what makes that doubtful."""
    from histo_index.search.floors import RANDOM

    subject = found.subject
    limit = "none" if found.threshold.value is None else f"{found.threshold.value:.4g}"
    same = int(subject.is_same.sum())
    is_beside = any(floor.name == RANDOM for floor in found.floors)
    parts = [
        found.headline,
        *(f"  doubtful   {printable(line)}" for line in found.warnings),
        f"  tiles      {len(subject.rows):,} of {counted(len(subject.group_names), 'group')}, "
        f"{len(subject.classes)} classes",
        f"  pairs      {len(subject.is_same):,}, {same:,} of them same; "
        f"{printable(subject.pairs_from)}",
        f"  threshold  {limit}, {printable(found.threshold.origin)}",
        f"  distances  {found.distance}{', of random weights likewise' if is_beside else ''}",
        "",
        *_table("pairs", [found.index, *found.floors], "pairs"),
    ]
    for kind in found.index.retrieval:
        parts += ["", *_table(f"neighbours, {kind}", [found.index, *found.floors], kind)]
    return "\n".join([*parts, *_abstaining(found)])


def _table(title: str, contenders: Sequence["Contender"], kind: str) -> list[str]:
    """Lay out figures in lines and contenders in columns; of floors only the values."""
    own, *floors = [c.pairs if kind == "pairs" else c.retrieval.get(kind, {}) for c in contenders]
    header = [title, "index", *(floor.name for floor in contenders[1:])]
    body = [
        [
            name.replace("_", " "),
            _ends(figure, ".3f"),
            *(_value(floor[name], ".3f") if name in floor else _UNKNOWN for floor in floors),
        ]
        for name, figure in own.items()
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *body)
    ]


def _abstaining(found: "Evaluation") -> list[str]:
    risk = found.risk_coverage
    if risk.answered is None or risk.risk_answered is None:
        return []
    if risk.risk_answered.value is None:
        return ["", "With --unsure not one of the pairs is answered."]
    return [
        "",
        f"With --unsure {_ends(risk.answered, '.3f')} of the pairs are answered, and "
        f"{_ends(risk.risk_answered, '.3f')} of those answers are wrong "
        f"(of all {risk.risk[-1]:.3f}).",
    ]


def _ends(figure: "Estimate", form: str) -> str:
    if figure.low is None or figure.high is None:
        return _value(figure, form)
    return f"{_value(figure, form)} ({figure.low:{form}}…{figure.high:{form}})"


def _value(figure: "Estimate", form: str) -> str:
    return _UNKNOWN if figure.value is None else f"{figure.value:{form}}"
