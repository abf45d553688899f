"""docs/format.md against a freshly built index: nothing undocumented, nothing invented."""

import importlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from histo_index.api.evaluation.baseline_cache import BaselineVectors, write_cache
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.format.shards import FACTS, user_columns
from histo_index.indexer.inputs.tile_list import RESERVED
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.remove import remove_tiles
from histo_index.search.calibration.calibration import store_calibration
from histo_index.search.calibration.otsu import guess
from histo_index.search.classification.fit_index import fit_class_model
from histo_index.search.classification.model import ClassModel
from histo_index.search.inputs.labelled_pairs import make_labelled_pairs
from histo_index.search.inputs.labels import read_labels
from histo_index.search.maps.file import store_map
from histo_index.search.maps.tile_map import MapFacts, TileMap
from histo_index.search.marks.file import append_mark
from histo_index.search.marks.record import TileMark
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)
from tests.promises.child import ROOT
from tests.search.classes import build_classes

TEXT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
# Enough for fitted distances.
TILES = 110
# Stands for the user's own columns.
OWN = "…"


def table_rows(name: str) -> list[list[str]]:
    """Read the rows of the table that follows a mark."""
    (after,) = TEXT.split(f"<!-- checked: {name} -->\n")[1:]
    lines = itertools.takewhile(lambda line: line.startswith("|"), after.splitlines())
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines][
        2:
    ]


def documented(name: str) -> list[str]:
    return [row[0] for row in table_rows(name)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with rejected tiles, a column of the user's, and the plan of a build cut short."""
    folder = tmp_path_factory.mktemp("documented")
    encoder = FakeEncoder(folder=folder / "fake-encoder")
    tiles = write_tiles(folder / "tiles", numbered(TILES))
    write_tiles(tiles, ["bad.png"], content="broken {}")
    listed = tiles / "list.csv"
    rows = [f"{name},x\n" for name in [*numbered(TILES), "bad.png"]]
    listed.write_text("path,label\n" + "".join(rows))
    run_build(
        folder / "tiles.hx",
        encoder,
        listed,
        search=SearchConfig(structure="SQ8"),
        distance="diffused",
    )
    opened = OpenIndex(folder / "tiles.hx")
    store_calibration(opened.folder, guess(opened))
    append_mark(opened.folder, TileMark(tile="a" * 64, label="x", user=None, time=""))
    store_map(opened.folder, map_of_one())
    remove_tiles(opened.folder, opened.rows.slice(0, 1))
    write_cache(OpenIndex(folder / "tiles.hx"), "test", BaselineVectors.none())

    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    encoder.before = interrupt
    write_tiles(tiles, numbered(5, start=TILES))
    listed.write_text(listed.read_text() + "".join(f"{n},y\n" for n in numbered(5, start=TILES)))
    with pytest.raises(KeyboardInterrupt):
        run_build(folder / "tiles.hx", encoder, listed)
    return folder / "tiles.hx"


def map_of_one() -> TileMap:
    facts = MapFacts(
        method="t-SNE", perplexity=5.0, steps=750, seed=0, laid_out=1, fingerprint="f" * 32,
        distance="plain", generation=1, created="now",
    )  # fmt: skip
    return TileMap(
        facts=facts, contents=pa.array(["0" * 64]), points=np.ones((1, 2), np.float32),
        nearest=np.ones(1, np.float32), is_placed=np.ones(1, bool),
    )  # fmt: skip


@pytest.fixture
def manifest(index: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((index / "manifest.json").read_bytes())
    return document


def file_records(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from manifest["files"].values()
    for shard in manifest["shards"]:
        yield from (shard["file"], shard["receipt"])


def test_the_manifest_has_the_documented_fields(manifest: dict[str, Any]) -> None:
    assert list(manifest) == documented("manifest")
    assert list(manifest["settings"]) == documented("settings")
    assert list(manifest["distance"]) == documented("distance")
    assert list(manifest["encoder"]) == documented("encoder")
    for shard in manifest["shards"]:
        assert list(shard) == documented("shard")
    for source in manifest["sources"]:
        assert list(source) == documented("source")
    for record in file_records(manifest):
        assert list(record) == documented("file")


def test_fields_have_the_documented_types(manifest: dict[str, Any]) -> None:
    kinds: dict[str, Any] = {
        "text": str,
        "integer": int,
        "object": dict,
        "list": list,
        "file record": dict,
    }
    kinds |= {"boolean": bool, "number": (int, float)}
    kinds |= {"number or null": (float, type(None)), "object or null": (dict, type(None))}
    kinds |= {"list of text": list, "text or null": (str, type(None))}
    for name, found in (
        ("manifest", manifest),
        ("settings", manifest["settings"]),
        ("structure", manifest["structure"]),
        ("distance", manifest["distance"]),
        ("encoder", manifest["encoder"]),
        ("source", manifest["sources"][0]),
        ("shard", manifest["shards"][0]),
        ("file", manifest["shards"][0]["file"]),
    ):
        for field, kind, _ in table_rows(name):
            assert isinstance(found[field], kinds[kind]), (name, field)


def test_a_calibration_has_the_documented_fields(index: Path) -> None:
    document = json.loads((index / "calibration.json").read_bytes())
    assert list(document) == documented("calibration")
    kinds: dict[str, Any] = {"text": str, "integer": int, "object": dict, "list": list}
    kinds |= {"boolean": bool, "number": float, "object or null": (dict, type(None))}
    kinds |= {"list or null": list}
    for field, kind, _ in table_rows("calibration"):
        assert isinstance(document[field], kinds[kind]), field


def test_a_class_model_has_the_documented_fields(tmp_path: Path) -> None:
    built = build_classes(tmp_path)
    dataset = make_labelled_pairs(
        built.index, read_labels(built.index, group="patient"), None, group="patient"
    )
    model = fit_class_model(built.index, dataset)
    assert isinstance(model, ClassModel)
    document = json.loads(json.dumps(model.as_dict()))
    assert list(document) == documented("classes")
    kinds: dict[str, Any] = {"text": str, "integer": int, "object": dict, "list": list}
    kinds |= {"number": float, "list or null": (list, type(None))}
    kinds |= {"text or null": (str, type(None))}
    for field, kind, _ in table_rows("classes"):
        assert isinstance(document[field], kinds[kind]), field


def test_files_have_the_documented_roles_and_places(manifest: dict[str, Any]) -> None:
    rows = {role: cell.split("`")[0] for role, cell in table_rows("files")}
    for role, record in manifest["files"].items():
        name = role.removeprefix("encoder/")
        pattern = rows["encoder/<name>" if name != role else role]
        generation = "000002" if role == "removed" else "000001"
        expected = pattern.replace("<generation>", generation).replace("<name>", name)
        assert record["path"] == expected
    plain = [role for role in manifest["files"] if not role.startswith("encoder/")]
    assert set(plain) | {"encoder/<name>"} == set(rows)


def test_every_file_of_the_folder_is_in_the_overview(index: Path) -> None:
    overview = TEXT.split("```")[1]
    patterns = [line.split()[0] for line in overview.splitlines()[2:] if line.strip()]
    names = [line.split("  ")[1].strip() for line in overview.splitlines()[2:] if line.strip()]
    assert len(patterns) == 18
    regexes = [
        re.escape(name)
        .replace(re.escape("<shard id>"), "[0-9a-f]{32}")
        .replace(re.escape("<generation>"), "[0-9]{6}")
        .replace(re.escape("…"), ".+")
        for name in names
    ]
    used = set()
    for path in index.rglob("*"):
        if path.is_file():
            name = path.relative_to(index).as_posix()
            (match,) = (regex for regex in regexes if re.fullmatch(regex, name))
            used.add(match)
    assert used == set(regexes)


def described(schema: pa.Schema) -> list[tuple[str, str]]:
    """Write a schema as the tables do; the user's columns are one entry."""
    own = user_columns(schema.empty_table())
    columns = [(field.name, str(field.type)) for field in schema if field.name not in own]
    if "label" in own:
        columns.insert(next(n for n, f in enumerate(schema) if f.name in own), (OWN, "as given"))
    return columns


def test_columns_have_the_documented_names_and_types(index: Path, manifest: dict[str, Any]) -> None:
    shard = pq.read_schema(index / manifest["shards"][0]["file"]["path"])
    expected = [(name, kind.replace("[2D]", "[32]")) for name, kind, _ in table_rows("columns")]
    assert described(shard) == expected
    assert set(FACTS) | {"image_id", "path", "embedding", OWN} == set(documented("columns"))
    assert list(shard.metadata) == [b"histo_index"]
    assert list(json.loads(shard.metadata[b"histo_index"])) == ["shard_id"]
    rows = pa.ipc.open_file(index / manifest["files"]["rows"]["path"]).schema
    stemless = [field for field in rows if field.name != "stem"]
    expected = [(name, kind) for name, kind, _ in table_rows("rows")]
    assert [*described(pa.schema(stemless)), ("stem", "string")] == expected
    assert rows.names[-1] == "stem"
    for name, path in (
        ("rejected", index / manifest["files"]["rejected"]["path"]),
        ("plan", index / "plan.parquet"),
        ("hashed", index / "hashed.parquet"),
        ("removed", index / manifest["files"]["removed"]["path"]),
    ):
        schema = pq.read_schema(path)
        found = [(field.name, str(field.type)) for field in schema]
        assert found == [(column, kind) for column, kind, _ in table_rows(name)]


def test_a_map_has_the_documented_columns_and_fields(index: Path) -> None:
    schema = pq.read_schema(index / "map.parquet")
    found = [(field.name, str(field.type)) for field in schema]
    assert found == [(column, kind) for column, kind, _ in table_rows("map")]
    document = json.loads(schema.metadata[b"histo_index"])
    assert list(document) == documented("map document")
    kinds = {"text": str, "integer": int, "number": float}
    for field, kind, _ in table_rows("map document"):
        assert isinstance(document[field], kinds[kind]), field
    values = b'["' + b"0" * 64 + b'"]' + 3 * np.ones(1, np.float32).tobytes() + b"\1"
    assert document["data"] == xxhash.xxh3_128_hexdigest(values)


def test_receipts_have_the_documented_fields(index: Path, manifest: dict[str, Any]) -> None:
    receipts = [
        json.loads((index / shard["receipt"]["path"]).read_bytes()) for shard in manifest["shards"]
    ]
    for receipt in receipts:
        assert list(receipt) == documented("receipt")
        assert list(receipt["file"]) == documented("file")
    (entry,) = (entry for receipt in receipts for entry in receipt["rejected"])
    (row,) = (row for row in table_rows("receipt") if row[0] == "rejected")
    assert re.findall(r"`(\w+)`", row[2] + "`") == list(entry)


def test_constants_have_the_documented_values() -> None:
    rows = table_rows("constants")
    assert len(rows) == 17
    for name, value in rows:
        module, attribute = name.rsplit(".", 1)
        assert str(getattr(importlib.import_module(module), attribute)) == value


def test_every_constant_of_the_format_is_documented() -> None:
    known = set(documented("constants"))
    for path in (ROOT / "histo_index" / "indexer").glob("*.py"):
        module = f"histo_index.indexer.{path.stem}"
        for name in re.findall(
            r"^([A-Z]+_NAME|FOLDER|BLOCK_ROWS|FORMAT_VERSION):",
            path.read_text(),
            re.M,
        ):
            assert f"{module}.{name}" in known


def test_reserved_columns_are_documented() -> None:
    (sentence,) = re.findall(r"they may not be called (.*)\.", TEXT)
    assert set(re.findall(r"`(\w+)`", sentence)) == RESERVED


def test_the_example_reads_every_tile(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    monkeypatch.chdir(index.parent)
    names = []

    def keep(table: pa.Table) -> None:
        names.extend(table["path"].to_pylist())

    code = code.rstrip() + "\n    keep(table)\n"
    exec(compile(code, "docs/format.md", "exec"), {"keep": keep})
    assert names == numbered(TILES)


@pytest.mark.parametrize(
    ("row", "pattern", "encoded"),
    [
        ("`search/`", "search", {0}),
        ("`rejected-….parquet`", "rejected-*.parquet", {0}),
        ("`plan.parquet`", "plan.parquet", {0}),
        ("`hashed.parquet`", "hashed.parquet", {0}),
        ("`lock`", "lock", {0}),
        ("`.tmp-…`", ".tmp-1-x", {0}),
        ("`encoder/`", "encoder", {0}),
        ("a shard or a receipt", "embeddings/*.parquet", {4, 8}),
        ("a shard or a receipt", "embeddings/*.json", {4, 8}),
        ("`manifest.json`", "manifest.json", {0}),
    ],
)
def test_deletable_files_are_rebuilt(
    tmp_path: Path, row: str, pattern: str, encoded: set[int]
) -> None:
    assert f"\n| {row} |" in TEXT.split("## What may be deleted")[1]
    encoder = FakeEncoder(folder=tmp_path / "fake-encoder")
    tiles = write_tiles(tmp_path / "tiles", numbered(20))
    output = tmp_path / "tiles.hx"
    run_build(output, encoder, tiles)
    for name in ("plan.parquet", ".tmp-1-x"):
        (output / name).touch()
    if pattern == "manifest.json":
        # A copied index may have no lock.
        (output / "lock").unlink()
    target = sorted(output.glob(pattern))[0]
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    run_build(output, encoder, tiles)
    require_sound(output, expected_rows(tiles, numbered(20)))
    assert len(encoder.encoded) in encoded
