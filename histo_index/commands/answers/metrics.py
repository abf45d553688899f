"""Format what `calibrate` and `evaluate` found, as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from histo_index.commands.output import (
    align,
)
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.search.bootstrap import Estimate
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.evaluation.result import Contender, Evaluation

_UNKNOWN: Final = "-"


def describe_calibration(found: "Calibration", index: Path) -> str:
    """Format the fitted threshold, its accuracy and its warnings."""
    accuracy = "unknown without labels; no probabilities either"
    if not found.is_unlabelled:
        accuracy = f"{_ends(found.accuracy, '.3f')}, cross-validated by {found.unit}"
    lines = [
        f"{index}: {found.origin}",
        f"  threshold  {_ends(found.threshold, '.4g')}, for {100 * found.prior:.3g} % same pairs",
        f"  accuracy   {accuracy}",
        f"  abstain    {'on' if found.answers_unsure else 'off'}",
        *_class_model(found),
    ]
    return "\n".join([*lines, *(f"  warning    {printable(line)}" for line in found.warnings)])


def _class_model(found: "Calibration") -> list[str]:
    """Format which classes have probabilities."""
    model = found.classes
    if model is None:
        return []
    names = ", ".join(map(printable, model.names))
    lines = [
        f"  classes    {names}; of {counted(model.groups, 'group')}",
        f"  novelty    finds {100 * model.novelty.detected:.0f} % of the tiles of a class that is "
        "missing, at 5 % false alarms",
    ]
    if model.unscored:
        unscored = ", ".join(map(printable, model.unscored))
        lines.append(f"  not scored {unscored}: labelled in one group only")
    return lines


def describe_evaluation(found: "Evaluation") -> str:
    """Format the metrics of an index beside those of the baselines, with warnings."""
    from histo_index.search.evaluation.baselines import RANDOM

    dataset = found.dataset
    limit = "none" if found.threshold.value is None else f"{found.threshold.value:.4g}"
    same = int(dataset.is_same.sum())
    has_random = any(baseline.name == RANDOM for baseline in found.baselines)
    parts = [
        found.headline,
        *(f"  warning    {printable(line)}" for line in found.warnings),
        f"  tiles      {len(dataset.rows):,} of {counted(len(dataset.group_names), 'group')}, "
        f"{len(dataset.classes)} classes",
        f"  pairs      {len(dataset.is_same):,}, {same:,} of them same; "
        f"{printable(dataset.pairs_from)}",
        f"  threshold  {limit}, {printable(found.threshold.origin)}",
        f"  distances  {found.distance}{', random weights too' if has_random else ''}",
        "",
        *_table("pairs", [found.index, *found.baselines], "pairs"),
    ]
    for kind in found.index.retrieval:
        parts += ["", *_table(f"neighbours, {kind}", [found.index, *found.baselines], kind)]
    return "\n".join([*parts, *_classes(found), *_abstaining(found)])


def _table(title: str, contenders: Sequence["Contender"], kind: str) -> list[str]:
    """Format metrics as rows and embedding sets as columns; baselines without intervals."""
    own, *baselines = [
        c.pairs if kind == "pairs" else c.retrieval.get(kind, {}) for c in contenders
    ]
    header = [title, "index", *(baseline.name for baseline in contenders[1:])]
    body = [
        [
            name.replace("_", " "),
            _ends(figure, ".3f"),
            *(
                _value(baseline[name], ".3f") if name in baseline else _UNKNOWN
                for baseline in baselines
            ),
        ]
        for name, figure in own.items()
    ]
    return align([header, *body])


def _classes(found: "Evaluation") -> list[str]:
    """Format how true class probabilities are, and by class the mean probability less the share."""
    metrics = found.classes
    if metrics is None:
        return []
    rows = [
        ["class probabilities", f"{metrics.tiles:,} tiles, each fitted without its group"],
        ["accuracy", _ends(metrics.accuracy, ".3f")],
        ["log loss", _ends(metrics.log_loss, ".3f")],
        ["log loss of the shares alone", _ends(metrics.prior_log_loss, ".3f")],
        ["calibration slope", _ends(metrics.slope, ".3f")],
        *(
            [f"mean error, {printable(name)}", _ends(error, "+z.3f")]
            for name, error in metrics.mean_errors.items()
        ),
    ]
    return ["", *align(rows)]


def _abstaining(found: "Evaluation") -> list[str]:
    risk = found.risk_coverage
    if risk.answered is None or risk.risk_answered is None:
        return []
    if risk.risk_answered.value is None:
        return ["", "With --unsure none of the pairs is answered."]
    return [
        "",
        f"With --unsure {_ends(risk.answered, '.3f')} of the pairs are answered, and "
        f"{_ends(risk.risk_answered, '.3f')} of those answers are wrong "
        f"(of all answers {risk.risk[-1]:.3f}).",
    ]


def _ends(figure: "Estimate", form: str) -> str:
    if figure.low is None or figure.high is None:
        return _value(figure, form)
    return f"{_value(figure, form)} ({figure.low:{form}}…{figure.high:{form}})"


def _value(figure: "Estimate", form: str) -> str:
    return _UNKNOWN if figure.value is None else f"{figure.value:{form}}"
