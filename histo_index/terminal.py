"""How results look on a terminal: plain text, a line per fact."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from histo_index.errors import HistoIndexError, counted, printable

if TYPE_CHECKING:
    from histo_index.indexer.build_config import BuildProgress, BuildReport
    from histo_index.search.answers import PairAnswer
    from histo_index.search.neighbours import Answered, Neighbour
    from histo_index.search.scoring import PairScores
    from histo_index.search.verdicts import Threshold

# How often a log that is no terminal is told how far a build is.
_LOG_EVERY_S: Final = 30.0
NEIGHBOUR_COLUMNS: Final = ("query", "rank", "image_id", "path", "distance")
# With those that a calibration adds: what the user's own columns may not be called.
_ANSWERED: Final = (
    *NEIGHBOUR_COLUMNS, "verdict", "probability", "probability_low", "probability_high",
    "status", "message",
)  # fmt: skip


def describe_build(report: "BuildReport") -> str:
    """Sum up a build."""
    rejected, left_out = sum(report.rejected.values()), sum(report.left_out.values())
    rate = f" ({report.images_per_second:.1f} images/s, all included)" if report.encoded else ""
    lines = [
        f"{report.index}: {counted(report.tiles, 'tile')}, generation {report.generation}",
        f"  encoded   {report.encoded:,}{rate}",
        f"  reused    {report.reused:,}",
        f"  dropped   {report.dropped:,}",
        f"  rejected  {rejected:,}",
        *(f"            {count:,} × {reason}" for reason, count in report.rejected.items()),
        *([f"  left out  {left_out:,}, removed before"] if left_out else []),
        *(f"            {count:,} × {reason}" for reason, count in report.left_out.items()),
        f"  ignored   {counted(report.ignored, 'file')} without the suffix of an image",
        f"  took      {report.seconds:.1f} s, {_size(report.bytes)} on disk",
    ]
    if rejected:
        lines.append(f"  reasons in {report.index / report.rejected_file}")
    return "\n".join(lines)


def describe_pair(answer: "PairAnswer") -> str:
    """Say the verdict and what it rests on."""
    limit = "none" if answer.threshold is None else f"{answer.threshold:.4g}"
    sources = [
        _origin(answer.image_a, answer.image_id_a),
        _origin(answer.image_b, answer.image_id_b),
    ]
    is_silent = answer.is_calibrated or answer.threshold is None
    calibrated = "" if is_silent else " (not calibrated for these images)"
    lines = [
        f"{answer.verdict.value}   distance {answer.distance:.4f}, threshold {limit}",
        f"  images     {sources[0]}, {sources[1]}",
        f"  threshold  {answer.threshold_from}{calibrated}",
    ]
    if answer.probability is not None:
        ends = f"{answer.probability_low:.3f}…{answer.probability_high:.3f}"
        lines.insert(1, f"  same       {answer.probability:.3f} probable (95 % interval {ends})")
    if answer.unsure_because is not None and answer.threshold is not None:
        lines.append(f"  unsure     {printable(answer.unsure_because)}")
    return "\n".join(lines)


def _origin(name: str, image_id: str | None) -> str:
    if image_id is None:
        return f"{printable(name)} (encoded now)"
    known = "indexed" if name == image_id else f"indexed as {printable(image_id)}"
    return f"{printable(name)} ({known})"


def describe_pairs(scores: "PairScores") -> str:
    """Sum up a scored list."""
    unsure = f", {scores.unsure:,} unsure" if scores.threshold.answers_unsure else ""
    lines = [
        f"{counted(scores.pairs, 'pair')}: {scores.answered:,} answered, "
        f"{scores.pairs - scores.answered:,} not; {scores.same:,} same{unsure}; "
        f"{counted(scores.encoded, 'image')} encoded for it",
        f"  threshold  {_limit(scores.threshold)}",
    ]
    if scores.has_labels and scores.accuracy is None:
        lines.append("  c-index    none: no labelled pair has a verdict of same or different")
    if scores.accuracy is not None:
        lines.append(
            f"  c-index    {scores.accuracy:.4f} ({scores.correct:,} of {scores.labelled:,} "
            "labelled pairs right)"
        )
    return "\n".join(lines)


def _limit(threshold: "Threshold") -> str:
    if threshold.value is None:
        return threshold.origin
    return f"{threshold.value:g}, {threshold.origin}"


def pairs_document(scores: "PairScores", *, with_rows: bool) -> dict[str, Any]:
    """Sum up a scored list for JSON, with its rows if they go nowhere else."""
    rows = {"rows": scores.table.to_pylist()} if with_rows else {}
    return {
        "pairs": scores.pairs,
        "answered": scores.answered,
        "same": scores.same,
        "unsure": scores.unsure,
        "encoded": scores.encoded,
        "threshold": scores.threshold.value,
        "threshold_from": scores.threshold.origin,
        "labelled": scores.labelled,
        "correct": scores.correct,
        "accuracy": scores.accuracy,
        **rows,
    }


def neighbour_rows(
    names: Sequence[str], found: "Sequence[Answered]", *, with_status: bool = False
) -> list[dict[str, Any]]:
    """Flatten neighbours: a dict per neighbour, the query's name first.

    With a status a query without any neighbour has a row, too, that says why.
    """
    rows: list[dict[str, Any]] = []
    for name, answer in zip(names, found, strict=True):
        if isinstance(answer, HistoIndexError):
            near, status, reason = [], "error", str(answer)
        else:
            near, status, reason = answer, "ok", "" if answer else "no tile may come back"
        told = {"status": status, "message": reason} if with_status else {}
        rows += [_neighbour_row(name, neighbour) | told for neighbour in near]
        if told and not near:
            rows.append({"query": printable(name), **told})
    # The user's columns are those of a row that has them.
    columns = max(rows, key=len, default={})
    shown = dict.fromkeys((*NEIGHBOUR_COLUMNS, *columns))
    return [{column: row.get(column) for column in shown} for row in rows]


def _neighbour_row(name: str, neighbour: "Neighbour") -> dict[str, Any]:
    return {
        "query": printable(name),
        "rank": neighbour.rank,
        "image_id": neighbour.image_id,
        "path": neighbour.path,
        "distance": neighbour.distance,
        **_chances(neighbour),
        # The user's columns keep their names unless the answer needs them.
        **{
            f"tile_{column}" if column in _ANSWERED else column: value
            for column, value in neighbour.metadata.items()
        },
    }


def _chances(neighbour: "Neighbour") -> dict[str, Any]:
    if neighbour.verdict is None:
        return {}
    return {
        "verdict": neighbour.verdict.value,
        "probability": neighbour.probability,
        "probability_low": neighbour.probability_low,
        "probability_high": neighbour.probability_high,
    }


def table_text(rows: Sequence[dict[str, Any]], *, nothing: str = "no neighbours") -> str:
    """Lay out rows as columns."""
    if not rows:
        return nothing
    header = list(rows[0])
    if all(row.get("path") == row.get("image_id") for row in rows):
        header.remove("path")
    body = [[_cell(row.get(name)) for name in header] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, *body]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def facts_text(facts: dict[str, Any]) -> str:
    """Lay out facts, one a line; those of a nested dict are indented below its name."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {line}" for line in facts_text(value).splitlines()]
        else:
            text = "; ".join(map(_cell, value)) if isinstance(value, list) else _cell(value)
            lines.append(f"{name:<14} {text}")
    return "\n".join(lines)


class ProgressLine:
    """Tells on stderr how far a build is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._stage = ""
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, state: "BuildProgress") -> None:
        """Take note of progress."""
        if state.stage != self._stage:
            self._begin(state)
        if self._bar is not None:
            self._bar.update(self._task, completed=state.done, rate=self._rate(state))
        elif time.monotonic() - self._told >= _LOG_EVERY_S:
            self._told = time.monotonic()
            left = (state.total - state.done) / max(self._rate(state), 1e-9)
            line = f"{state.stage} {state.done:,} of {state.total:,}"
            print(f"{line}, {self._rate(state):.1f} images/s, {left:.0f} s left", file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, state: "BuildProgress") -> None:
        self.close()
        self._stage = state.stage
        self._started = self._told = time.monotonic()
        if self._is_terminal and state.total:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:>10}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]:.0f} images/s"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(state.stage, total=state.total, rate=0.0)
            self._bar.start()

    def _rate(self, state: "BuildProgress") -> float:
        return state.done / max(time.monotonic() - self._started, 1e-9)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5f}" if isinstance(value, float) else printable(value)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop ends at GB")
