"""`info` counts live tiles and states what the files of an index hold."""

from pathlib import Path
from typing import Any, Final

import pytest

import histo_index
from histo_index.api.contents.show import describe_html
from histo_index.api.info import index_facts
from histo_index.commands.output import facts_text
from histo_index.commands.remove import describe_removed
from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.reader import OpenIndex
from tests.vectors import build_numbered, unit_vectors

N: Final = 123
NAMES: Final = [f"{n:03}.png" for n in range(N)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in four shards: two tiles were removed, one purged and one rejected."""
    place = tmp_path_factory.mktemp("facts")
    rows = [f",{'xyy'[n % 3]},p{n % 5}" for n in range(N)]
    path, encoder = build_numbered(
        place, unit_vectors(N, 16), NAMES, columns=",label,group", rows=rows
    )
    (place / "tiles" / NAMES[-1]).write_text("no number")
    plan = BuildConfig(
        sources=[place / "tiles"],
        manifest=place / "tiles" / "manifest.csv",
        output=path,
        distance="diffused",
        shard_rows=40,
        replace=True,
    )
    build(plan, encoder)
    histo_index.open(path).remove(names=NAMES[:1], purge=True)
    histo_index.open(path).remove(names=NAMES[1:3])
    return path


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return index_facts(folder, verify=False)


def test_tiles_and_files_are_counted(folder: Path, facts: dict[str, Any]) -> None:
    manifest = OpenIndex(folder).manifest
    assert {name: facts[name] for name in ("tiles", "rejected", "removed", "purged")} == {
        "tiles": N - 4, "rejected": 1, "removed": 3, "purged": 1
    }  # fmt: skip
    assert facts["removed_stored"] == 2
    assert facts["shards"] == len(list((folder / "embeddings").glob("*.parquet"))) > 1
    assert (facts["generation"], facts["created"]) == (manifest.generation, manifest.created)
    assert manifest.generation > 1
    paths = [record.path for record in manifest.records()]
    assert facts["bytes"] == sum((folder / path).stat().st_size for path in paths)
    assert facts["files"] == f"{len(paths)}, all intact by size (--verify reads them)"


def test_encoder_search_and_sources_are_described(folder: Path, facts: dict[str, Any]) -> None:
    assert facts["encoder"]["fingerprint"] == "f" * 32
    assert facts["computed_by"] == "numbers cpu float32"
    assert facts["searched_by"]["factory"] == "exact"
    assert facts["distance"] == f"diffused, fitted on {N - 2} tiles"  # the purged one was in it
    tiles = folder.parent / "tiles"
    assert facts["sources"] == [f"{tiles} with {tiles / 'manifest.csv'}"]


def test_classes_are_those_of_live_tiles_the_largest_first(
    folder: Path, facts: dict[str, Any]
) -> None:
    live = ["xyy"[n % 3] for n in range(3, N - 1)]
    assert facts["columns"] == ["label", "group"]
    assert list(facts["classes"].items()) == [("y", live.count("y")), ("x", live.count("x"))]
    shown = describe_html(OpenIndex(folder))
    assert "groups</th><td style='text-align:left'>5</td>" in shown


def test_the_lines_of_the_command_hold_the_facts(facts: dict[str, Any]) -> None:
    lines = facts_text(describe_removed(facts)).splitlines()
    assert f"tiles          {N - 4}" in lines
    on_disk = "2 still on disk: `histo-index compact` erases them"
    assert f"removed        3 (kept out of later builds; {on_disk})" in lines
    assert "rules          none" in lines
    assert lines[lines.index("classes:") + 1].split()[0] == "y"
