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
