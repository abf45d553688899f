"""Format what `calibrate` and `evaluate` found, as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.commands.output import align, estimate_text
from histo_index.wording import counted, printable

if TYPE_CHECKING:
    from histo_index.search.bootstrap import Estimate
    from histo_index.search.calibration.calibration import Calibration
    from histo_index.search.evaluation.result import Contender, Evaluation


def describe_calibration(found: "Calibration", index: Path) -> str:
    """Format the fitted threshold, its accuracy and its warnings."""
    accuracy = "unknown without labels; no probabilities either"
    if not found.is_unlabelled:
        accuracy = f"{estimate_text(found.accuracy)}, cross-validated by {found.unit}"
    lines = [
        f"{index}: {found.origin}",
        f"  threshold  {estimate_text(found.threshold, '.4g')}, for {100 * found.prior:.3g} % "
        "same pairs",
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
            estimate_text(figure),
            *(_value_text(baseline.get(name)) for baseline in baselines),
        ]
        for name, figure in own.items()
    ]
    return align([header, *body])


def _value_text(figure: "Estimate | None") -> str:
    return "-" if figure is None or figure.value is None else f"{figure.value:.3f}"


def _classes(found: "Evaluation") -> list[str]:
    """Format how true class probabilities are, and by class the mean probability less the share."""
    metrics = found.classes
    if metrics is None:
        return []
    rows = [
        ["class probabilities", f"{metrics.tiles:,} tiles, each fitted without its group"],
        ["accuracy", estimate_text(metrics.accuracy)],
        ["log loss", estimate_text(metrics.log_loss)],
        ["log loss of the shares alone", estimate_text(metrics.prior_log_loss)],
        ["calibration slope", estimate_text(metrics.slope)],
        *(
            [f"mean error, {printable(name)}", estimate_text(error, "+z.3f")]
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
        f"With --unsure {estimate_text(risk.answered)} of the pairs are answered, and "
        f"{estimate_text(risk.risk_answered)} of those answers are wrong "
        f"(of all answers {risk.risk[-1]:.3f}).",
    ]
