"""`search` with filters from the command line and from Python."""

import json

import histo_index
from tests.cli.conftest import Run, Workshop
from tests.cli.test_pairs_and_search import A


def test_filters_from_the_command_line_are_those_from_python(workshop: Workshop, run: Run) -> None:
    ran = run("search", A, "-k", "100", "--where", "mpp < 0.6 and label <> 'fat'",
              "--exclude-same", "group", "--exclude-same", "label", "--json")  # fmt: skip
    rows = json.loads(ran.out)
    (own,) = (r for r in json.loads(run("search", A, "-k", "1", "--include-self", "--json").out))
    assert ran.code == 0
    assert rows
    assert own["group"] not in {row["group"] for row in rows}
    assert {own["label"], "fat"}.isdisjoint({row["label"] for row in rows})
    found = histo_index.open(workshop.index).search(
        A, k=100, where="mpp < 0.6 and label <> 'fat'", exclude_same=["group", "label"]
    )[0]
    assert [n.image_id for n in found] == [row["image_id"] for row in rows]
    alone = histo_index.open(workshop.index).search(A, k=100, exclude_same="group")[0]
    assert own["group"] not in {n.metadata["group"] for n in alone}


def test_filters_that_do_not_fit_are_one_line(workshop: Workshop, run: Run) -> None:
    for options, message in (
        (("--where", "lable = 'fat'"), "--where lable = 'fat': Binder Error: Referenced column"),
        (("--where", "label = 'stone'"), "--where label = 'stone': true of no tile"),
        (("--exclude-same", "patient"), "--exclude-same patient: no such column; the index has"),
        (("--near-duplicates", "some"), "near duplicates: 'some'; expected keep or drop"),
        (("-k", "0"), "Invalid value for '-k'"),
    ):
        ran = run("search", A, *options)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
        assert "Traceback" not in ran.err
