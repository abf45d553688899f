"""`remove` and `compact` from the command line and from Python."""

import json
from pathlib import Path

import histo_index
from tests.cli.conftest import Run, Workshop
from tests.cli.test_pairs_and_search import A, B


def test_tiles_are_removed_and_their_space_is_freed(workshop: Workshop, run: Run) -> None:
    tiles = json.loads(run("info", "--json").out)["tiles"]
    Path("bad.txt").write_text(f"{A}\n{B}\n")
    ran = run("remove", "--list", "bad.txt")
    assert (ran.code, ran.out) == (0, f"tiles.hx: 2 tiles removed; {tiles - 2} tiles left\n")
    assert json.loads(run("info", "--verify", "--json").out)["removed"] == 2
    ran = run("search", "slide-01/0002.png", "-k", "100", "--json")
    assert {A, B}.isdisjoint({row["image_id"] for row in json.loads(ran.out)})
    ran = run("compact")
    assert (ran.code, ran.out) == (
        0,
        f"tiles.hx: {tiles - 2} tiles; 2 removed tiles erased from the shards\n",
    )
    assert len(histo_index.open(workshop.index)) == tiles - 2
    assert histo_index.open(workshop.index).remove(where="label = 'fat'").removed == 2
    assert histo_index.compact(workshop.index).tiles == tiles - 4
    ran = run("remove")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2,
        "histo-index: error: nothing to remove: pass --where EXPRESSION or --list FILE",
    )


def test_a_rule_holds_for_later_builds_until_it_is_lifted(workshop: Workshop, run: Run) -> None:
    tiles = len(histo_index.open(workshop.index))
    gone = tiles // 8
    ran = run("remove", "--where", "label = 'fat'")
    assert (ran.code, ran.out.splitlines()) == (
        0,
        [
            f"tiles.hx: {gone} tiles removed; {tiles - gone} tiles left",
            "  rule      label = 'fat': later builds leave out every tile that matches",
        ],
    )
    facts = run("info").out.splitlines()
    lines = [
        " ".join(line.split()) for line in facts if line.startswith(("tiles", "rem", "pur", "ru"))
    ]
    assert lines == [
        f"tiles {tiles - gone}",
        f"removed {gone} (kept out of later builds; {gone} still on disk: "
        "`histo-index compact` erases them)",
        "purged 0",
        "rules label = 'fat'",
    ]
    labels = "tiles/labels.csv"
    ran = run("build", "tiles", "-o", "tiles.hx", "--manifest", labels)
    assert (
        f"  left out  {gone}, removed earlier\n            {gone} × rule label = 'fat'\n" in ran.out
    )
    assert "  dropped   0\n" in ran.out
    ran = run("restore", "--rule", "label = 'fat'")
    assert (ran.code, ran.out.splitlines()) == (
        0,
        [
            f"tiles.hx: 0 tiles restored; {tiles - gone} tiles in the index",
            "  deleted   rule label = 'fat'",
            f"  later     {gone} contents no longer stored: the next `histo-index build` encodes "
            "them again",
        ],
    )
    assert json.loads(run("build", "tiles", "--manifest", labels, "--json").out)["left_out"] == {}
    assert len(histo_index.open(workshop.index)) == tiles


def test_remove_prints_its_effect_on_later_builds(workshop: Workshop, run: Run) -> None:
    ran = run("remove", "--where", "label = 'fat' and mpp > 0")
    assert ran.out.splitlines()[1:] == [
        "  no rule   later builds leave out these contents only; a rule is column = value, "
        "several joined by OR, or column IN (...)"
    ]
    ran = run("restore", "--all")
    assert ran.out.startswith("tiles.hx: 2 tiles restored; 16 tiles in the index\n")
    ran = run("remove", "--where", "label = 'fat' and mpp > 0", "--rule")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2,
        "histo-index: error: --where label = 'fat' and mpp > 0: no standing rule: a rule is "
        "column = value, several joined by OR, or column IN (...); nothing was removed; leave out "
        "--rule to remove the tiles that match now",
    )
    ran = run("remove", "--where", "label = 'fat'", "--no-rule")
    assert ran.out.splitlines()[1:] == [
        "  no rule   later builds leave out these contents only; --no-rule"
    ]
    ran = run("remove", "--where", "label = 'not there yet'", "--rule")
    assert ran.out.splitlines()[0] == "tiles.hx: 0 tiles removed; 14 tiles left"
    ran = run("remove", "--purge", "--json")
    assert json.loads(ran.out)["purged"] == {
        "contents": 2,
        "rows": 2,
        "is_calibration_erased": False,
        "is_distance_refitted": False,
    }
    ran = run("remove", "--purge")
    assert ran.out.splitlines() == [
        "tiles.hx: 0 tiles removed; 14 tiles left",
        "  purged    nothing more: the index holds only hashes of removed tiles",
    ]
    ran = run("restore", "--all")
    assert ran.out.splitlines()[1:] == [
        "  deleted   rule label = 'not there yet'",
        "  purged    2 contents stay out; with --purged the next build encodes them again",
    ]
