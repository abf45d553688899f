"""Which expressions are standing rules, and which are not."""

import pyarrow as pa
import pytest

from histo_index.errors import InputError
from histo_index.indexer.format.removed import Rule, describe_rule
from histo_index.search.answers.rules import NoRuleError, read_rules

ROWS = pa.table(
    {
        "image_id": ["a"],
        "patient_id": ["007"],
        "Slide": [12],
        "mpp": [0.5],
        "the group": ["x"],
        "width": pa.array([4], pa.int32()),
        "stem": ["a"],
    }
)


def rules(*pairs: tuple[str, str | int | float]) -> list[Rule]:
    return [Rule(column=column, value=value) for column, value in pairs]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("patient_id = '007'", rules(("patient_id", "007"))),
        ("  PATIENT_ID=='it''s'  ", rules(("patient_id", "it's"))),
        ("slide = 12", rules(("Slide", 12))),
        ("slide = '12'", rules(("Slide", "12"))),
        ("mpp = -1.5e-1", rules(("mpp", -0.15))),
        ("\"the group\" = 'x'", rules(("the group", "x"))),
        ("patient_id IN ('a', 'b')", rules(("patient_id", "a"), ("patient_id", "b"))),
        (
            "patient_id = 'a' or slide in (1) OR patient_id = 'a'",
            rules(("patient_id", "a"), ("Slide", 1)),
        ),
    ],
)
def test_a_column_and_a_value_are_a_rule(where: str, expected: list[Rule]) -> None:
    assert read_rules(where, ROWS) == expected


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        *(
            (where, "a rule is column = value, several joined by OR, or column IN")
            for where in (
                "patient_id = 'a' and slide = 1", "slide > 3", "slide <> 3",
                "(slide = 3)",  "slide in ()", "slide in (1", "slide = ",
                "slide = 3 or", "patient_id = 'a' || 'b'", "slide = 3abc", "slide = slide",
                "patient_id not in ('a')", "patient_id = 'a", "", "slide = 1 -- or all",
            )
        ),
        ("image_id = 'a'", "image_id is not a metadata column of your own"),
        ("width = 4", "width is not a metadata column of your own"),
        ("not slide = 3", "there is no column not, or several"),
        ("lower(patient_id) = 'a'", "there is no column lower, or several"),
        ("nothing = 4", "there is no column nothing, or several"),
    ],
)  # fmt: skip
def test_any_other_expression_is_none(where: str, reason: str) -> None:
    with pytest.raises(NoRuleError) as caught:
        read_rules(where, ROWS)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("patient_id = 007", "column patient_id is text and 7 a number; expected text in single"),
        ("slide = 'A12'", "Slide = 'A12': column Slide is of type int64; expected a value of"),
        ("slide = 1.5", "Slide = 1.5: column Slide is of type int64; expected a value of"),
    ],
)
def test_a_value_of_another_type_is_refused(where: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_rules(where, ROWS)
    assert message in str(caught.value)


def test_the_value_of_a_private_column_is_not_shown() -> None:
    rule = Rule(column="patient_id", value="it's")
    assert describe_rule(rule) == "patient_id = 'it''s'"
    assert describe_rule(rule, frozenset({"patient_id"})) == "patient_id = (private)"
    assert describe_rule(Rule(column="the group", value=7)) == '"the group" = 7'


def test_a_rule_compares_as_the_column_is_typed() -> None:
    rule = Rule(column="n", value="007")
    assert rule.find(pa.table({"n": ["7", "007", None]})).tolist() == [False, True, False]  # type: ignore[union-attr]
    assert Rule(column="n", value=7).find(pa.table({"n": ["7", "007"]})).tolist() == [True, False]  # type: ignore[union-attr]
    assert Rule(column="n", value=7).find(pa.table({"n": [7.0, 7.5]})).tolist() == [True, False]  # type: ignore[union-attr]
    assert rule.find(pa.table({"m": ["007"]})) is None
    assert Rule(column="n", value="x").find(pa.table({"n": [7]})) is None
