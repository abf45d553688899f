"""Facts and tables as text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histo_index.commands.output import duration_text, facts_text, size_text, table_text, to_json


def test_facts_are_one_a_line_with_nested_ones_indented() -> None:
    facts = {"tiles": 3, "search": {"recall": 0.99, "private": ()}, "sources": ["a", "b"]}
    assert facts_text(facts).splitlines() == [
        "tiles          3",
        "search:",
        "  recall         0.99",
        "  private        none",
        "sources        a; b",
    ]


def test_a_table_has_one_width_a_column_and_no_path_equal_to_the_id() -> None:
    rows: list[dict[str, Any]] = [
        {"image_id": "a", "path": "a", "distance": 0.5},
        {"image_id": "long", "path": "long", "distance": None},
    ]
    assert table_text(rows).splitlines() == [
        "image_id  distance",
        "a         0.50000",
        "long      -",
    ]
    assert table_text([], nothing="no duplicates") == "no duplicates"


def test_sizes_and_durations_have_the_unit_that_fits() -> None:
    assert [size_text(n) for n in (999, 1500, 2_500_000)] == ["999 bytes", "1.5 KB", "2.5 MB"]
    assert [duration_text(s) for s in (42, 188, 7500)] == ["42 s", "3 min 8 s", "2 h 5 min"]


def test_numbers_of_the_user_are_printed_as_they_are() -> None:
    rows: list[dict[str, Any]] = [{"image_id": "a", "distance": 0.5, "mpp": 0.5, "age": 71.0}]
    assert table_text(rows).splitlines()[1] == "a         0.50000   0.5  71"


@dataclass(frozen=True)
class Inner:
    value: float


@dataclass(frozen=True)
class Outer:
    folder: Path
    inner: Inner
    others: tuple[Inner, ...]


def test_a_record_inside_a_record_is_printed_by_its_fields() -> None:
    found = Outer(folder=Path("tiles.hx"), inner=Inner(0.5), others=(Inner(float("nan")),))
    expected = '{"folder": "tiles.hx", "inner": {"value": 0.5}, "others": [{"value": null}]}'
    assert to_json(found) == to_json(vars(found)) == expected
