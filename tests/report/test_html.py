"""Numbers and facts as a page writes them."""

from histo_index.report.html import breakable, ends, facts, fill, number, percent
from histo_index.search.bootstrap import Estimate


def test_numbers_and_intervals() -> None:
    assert number(0.12345) == "0.123"
    assert number(-0.0001) == "0.000"
    assert number(0.5, sign=True) == "+0.500"
    assert number(None) == "–"
    assert ends(Estimate(value=0.5, low=None, high=None)) == ""
    assert ends(Estimate(value=0.5, low=0.25, high=0.75)) == "0.250…0.750"
    assert ends(Estimate(value=0, low=-0.0001, high=0.0001)) == "0.000…0.000"


def test_a_share_looks_like_all_or_none_only_if_it_is() -> None:
    assert [percent(share) for share in (0, 0.0009, 0.0011, 0.0049, 0.006, 0.5, 0.994)] == [
        "0 %", "<0.1 %", "0.1 %", "0.5 %", "1 %", "50 %", "99 %",
    ]  # fmt: skip
    assert [percent(share) for share in (0.9951, 0.9962, 0.9989, 0.9991, 1.0, None)] == [
        "99.5 %", "99.6 %", "99.9 %", ">99.9 %", "100 %", "–",
    ]  # fmt: skip


def test_names_break_after_an_underscore_and_stay_text() -> None:
    assert breakable("low_grade_<b>") == "low_<wbr>grade_<wbr>&lt;b&gt;"
    assert breakable("a\nb") == "a\\nb"


def test_facts_are_flat_and_without_folders() -> None:
    told = facts(
        {
            "is_trained": True,
            "mpp": None,
            "training": {"data": "/data/Erika/tiles", "epochs": 1200, "rate": 0.00025},
            "root": "C:\\patients\\tiles",
            "curve": {"distance": [0.0]},
            "kinds": ["a", "b"],
        }
    )
    assert told == [
        ("is trained", "yes"),
        ("mpp", "–"),
        ("training: data", "tiles"),
        ("training: epochs", "1,200"),
        ("training: rate", "0.00025"),
        ("root", "tiles"),
        ("kinds", "a, b"),
    ]


def test_names_that_are_not_utf8_are_escaped() -> None:
    html = fill(
        "search.html", title="\udcff", queries=[], charts=[], origin="a\nb", names=False,
        pictures=type("None_", (), {"missing": 0}), shown_names=[], kind=str, provenance=[],
    )  # fmt: skip
    assert "\\udcff" in html
    html.encode()
