"""Promise 25: every released format version opens with its values; newer ones are refused by name.

`python -m tests.promises.test_25_every_version_opens` writes that of the present version: once,
when it is new.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from histo_index.api.info import index_facts
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.manifest import FORMAT_VERSION, read_manifest
from histo_index.indexer.format.signed_json import seal
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from histo_index.search.inputs.resolve import vectors_of
from tests.indexer.fakes import (
    FakeEncoder,
    embedding_of,
    expected_rows,
    files_of,
    numbered,
    reasons,
    require_sound,
    run_build,
    write_tiles,
)

FORMATS: Final = Path(__file__).parents[1] / "indexer" / "formats"
NAMES: Final = ["a.png", "b/a.png", "b/…é.tif", "b/c.d.jpg", "pages.tif"]
LABELS: Final = ["x", "", "007", "y", "z"]
COUNTS: Final = [1, None, 3, 4, 5]


def write_example_tiles(folder: Path) -> Path:
    write_tiles(folder, [*NAMES, "bad.png"])
    (folder / "bad.png").write_text("broken")
    (folder / "pages.tif").write_text("pages of something")
    listed = folder / "list.csv"
    counts = ["" if count is None else str(count) for count in COUNTS]
    rows = [",".join(row) for row in zip(NAMES, LABELS, counts, strict=True)]
    listed.write_text("path,label,n\n" + "\n".join([*rows, "bad.png,,"]) + "\n", encoding="utf-8")
    return folder


def write_example(target: Path, work: Path) -> None:
    tiles = write_example_tiles(work / "tiles")
    encoder = FakeEncoder(folder=work / "fake-encoder")
    run_build(work / "example.hx", encoder, tiles / "list.csv", shard_rows=3)
    (work / "example.hx" / "lock").unlink()
    shutil.copytree(work / "example.hx", target)


def write_fitted_example(target: Path, work: Path) -> None:
    tiles = write_tiles(work / "many", numbered(100))
    encoder = FakeEncoder(folder=work / "fake-encoder")
    run_build(work / "fitted.hx", encoder, tiles, distance="diffused", shard_rows=100)
    (work / "fitted.hx" / "lock").unlink()
    shutil.copytree(work / "fitted.hx", target)


def versions() -> list[int]:
    return list(range(1, FORMAT_VERSION + 1))


@pytest.mark.parametrize("version", versions())
def test_an_index_of_every_version_opens_with_its_values(version: int, tmp_path: Path) -> None:
    tiles = write_example_tiles(tmp_path / "tiles")
    saved = FORMATS / f"version-{version}"
    before = files_of(saved)
    manifest = require_sound(saved, expected_rows(tiles, NAMES))
    assert (manifest.generation, manifest.tiles, manifest.rejected) == (1, 5, 1)
    assert reasons(saved) == {"bad.png": "not an image: 6 bytes of nothing"}
    rows = OpenIndex(saved).rows
    assert rows.select(["path", "label", "n"]).to_pydict() == {
        "path": NAMES,
        "label": LABELS,
        "n": COUNTS,
    }
    assert index_facts(saved, verify=True)["format"] == version
    assert files_of(saved) == before


@pytest.mark.parametrize("version", versions())
def test_an_index_of_every_version_is_brought_up_without_encoding(
    version: int, tmp_path: Path
) -> None:
    tiles = write_example_tiles(tmp_path / "tiles")
    output = tmp_path / "example.hx"
    shutil.copytree(FORMATS / f"version-{version}", output)
    reindex(output)
    require_sound(output, expected_rows(tiles, NAMES))
    encoder = FakeEncoder(folder=tmp_path / "fake-encoder")
    run_build(output, encoder, tiles / "list.csv", shard_rows=3)
    require_sound(output, expected_rows(tiles, NAMES))
    assert encoder.encoded == []


@pytest.mark.parametrize(("version", "kind"), [(1, "diffused")])
def test_a_fitted_index_keeps_its_distances(version: int, kind: str, tmp_path: Path) -> None:
    output = tmp_path / "fitted.hx"
    shutil.copytree(FORMATS / f"version-{version}-{kind}", output)
    assert index_facts(output, verify=True)["distance"] == f"{kind}, fitted on 100 tiles"
    name = read_manifest(output).distance_name
    (tile,) = write_tiles(tmp_path / "tiles", ["t0042.png"]).iterdir()
    row = OpenIndex(output).rows["path"].to_pylist().index(tile.name)
    before = OpenIndex(output).vectors(np.arange(100))
    # Equal but for the last digit of float16: other processors round their sums otherwise.
    outside = vectors_of(OpenIndex(output), embedding_of(tile.read_bytes())[None])[0]
    np.testing.assert_allclose(outside, before[row], atol=1e-3)
    shutil.rmtree(output / "search")
    reindex(output)
    np.testing.assert_allclose(OpenIndex(output).vectors(np.arange(100)), before, atol=1e-3)
    # By which calibrations know it.
    assert read_manifest(output).distance_name == name


def test_newer_version_is_refused_by_name_and_kept(tmp_path: Path) -> None:
    tiles = write_example_tiles(tmp_path / "tiles")
    newer, output = FORMAT_VERSION + 1, tmp_path / "example.hx"
    encoder = FakeEncoder(folder=tmp_path / "fake-encoder")
    run_build(output, encoder, tiles / "list.csv", shard_rows=3)
    receipt = output / read_manifest(output).shards[0].receipt.path
    whole = {path: path.read_bytes() for path in (output / "manifest.json", receipt)}

    def build_again() -> object:
        return run_build(output, encoder, tiles / "list.csv")

    uses: dict[Path, list[Callable[[], object]]] = {
        output / "manifest.json": [
            lambda: OpenIndex(output),
            lambda: index_facts(output, verify=True),
            lambda: reindex(output),
        ],
        receipt: [],
    }
    for path, only_there in uses.items():
        body = json.loads(whole[path])
        kind = body.pop("format")
        del body["format_version"], body["checksum"]
        path.write_bytes(seal(kind, {**body, "wings": 2}, version=newer))
        before = files_of(output)
        for use in (*only_there, build_again):
            with pytest.raises(IndexFormatError) as caught:
                use()
            assert str(caught.value) == (
                f"{path} has index format {newer}, this release reads up to {FORMAT_VERSION}; "
                "upgrade histo-index"
            )
        assert {**files_of(output), "lock": b""} == {**before, "lock": b""}
        path.write_bytes(whole[path])
    require_sound(output, expected_rows(tiles, NAMES))


def test_the_present_version_is_written_as_it_was_saved(tmp_path: Path) -> None:
    write_example(tmp_path / "now", tmp_path)
    now, saved = tmp_path / "now", FORMATS / f"version-{FORMAT_VERSION}"
    was, found = files_of(saved), files_of(now)
    assert list(found) == list(was)
    kept = {"created": "", "libraries": {}}
    for name in found:
        # The libraries that write Parquet and Arrow put their versions in; the rest is ours.
        if not name.endswith((".parquet", ".arrow", ".json", ".faiss")):
            assert hashlib.sha256(found[name]).digest() == hashlib.sha256(was[name]).digest(), name
    assert [shard.shard_id for shard in read_manifest(now).shards] == [
        shard.shard_id for shard in read_manifest(saved).shards
    ]
    old, new = vars(read_manifest(saved)) | kept, vars(read_manifest(now)) | kept
    assert set(old) == set(new)
    assert old["settings"] == new["settings"]
    assert old["encoder"] == new["encoder"]


def test_present_version_fits_the_saved_arrays(tmp_path: Path) -> None:
    write_fitted_example(tmp_path / "now", tmp_path)
    now, saved = (
        dict(np.load(folder / "transform-000001.npz"))
        for folder in (tmp_path / "now", FORMATS / f"version-{FORMAT_VERSION}-diffused")
    )
    # Values beyond the share may differ in the last digit where another processor fitted them.
    assert {name: (array.dtype, array.shape) for name, array in now.items()} == {
        name: (array.dtype, array.shape) for name, array in saved.items()
    }
    assert now["share"] == saved["share"] == 0.7


if __name__ == "__main__":
    import tempfile

    write_example(FORMATS / f"version-{FORMAT_VERSION}", Path(tempfile.mkdtemp()))
    write_fitted_example(FORMATS / f"version-{FORMAT_VERSION}-diffused", Path(tempfile.mkdtemp()))
