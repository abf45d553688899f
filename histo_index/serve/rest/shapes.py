"""Answers as JSON and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.responses import JSONResponse

from histo_index.search.classification.answer import ClassAnswer
from histo_index.serve.answers.asked import Asked
from histo_index.serve.answers.pair import Compared
from histo_index.serve.answers.search import Found
from histo_index.serve.state.snapshot import plain

# Spreadsheets take a cell that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_HIT_COLUMNS: Final = (
    "rank", "id", "distance", "verdict", "label", "probability", "probability_low",
    "probability_high",
)  # fmt: skip


def answer(body: Any, tag: str) -> JSONResponse:
    """Wrap plain values; the tag is that of the state that was asked."""
    return JSONResponse(body, headers={"ETag": f'"{tag}"'})


def search_json(found: Found, asked: Asked) -> dict[str, Any]:
    """Write the answer to a search."""
    return {
        "like": list(asked.like),
        "unlike": list(asked.unlike),
        "threshold": found.threshold,
        "threshold_from": plain(found.threshold_from),
        "same": found.same,
        "is_by_distance": found.is_by_distance,
        "scale_notes": found.scale_notes,
        "classes": None if found.classes is None else class_json(found.classes),
        "parts": found.parts,
        "hits": [vars(hit) for hit in found.hits],
    }


def class_json(found: ClassAnswer) -> dict[str, Any]:
    """Write the classes of an image."""
    return {
        "classes": [
            {
                "class": plain(chance.label), "probability": chance.probability,
                "probability_low": chance.low, "probability_high": chance.high,
            }
            for chance in found.chances
        ],
        "is_novel": found.is_novel,
        "unscored": [plain(label) for label in found.unscored],
        "problem": plain(found.problem),
    }  # fmt: skip


def pair_json(found: Compared) -> dict[str, Any]:
    """Write the answer to a pair."""
    sides = {"a": vars(found.a), "b": vars(found.b), "threshold_from": plain(found.threshold_from)}
    return {**vars(found), **sides}


def search_csv(found: Found) -> str:
    """Write the hits of a search as CSV; no cell is a formula. A partial answer has `parts`."""
    names = list(dict.fromkeys(name for hit in found.hits for name in hit.columns))
    partial = {} if found.parts is None else {"parts": found.parts}
    ours = (*_HIT_COLUMNS, *partial)
    shown = [f"tile_{name}" if name in ours else name for name in names]
    rows = [
        [
            *(getattr(hit, name) for name in _HIT_COLUMNS),
            *partial.values(),
            *(hit.columns.get(name) for name in names),
        ]
        for hit in found.hits
    ]
    return to_csv([*ours, *shown], rows)


def to_csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write rows as CSV; text that a spreadsheet would take for a formula gets a quote before."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return "" if value is None else value
    text = str(value) if not isinstance(value, Mapping) else str(dict(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
