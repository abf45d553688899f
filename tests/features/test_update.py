"""A second import reads what is new or changed, keeps the rest, and drops what is gone."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import histo_index
from histo_index.api.features.import_features import import_features
from histo_index.api.features.options import FeatureOptions
from histo_index.commands.remove import describe_restore
from histo_index.errors import InputError, MismatchError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.removed import Rule
from histo_index.indexer.removal.compact import compact
from histo_index.indexer.removal.remove import remove_tiles
from tests.features.writers import draw_slide, settle, write_npy, write_trident

SCALES = {"a": 0.25, "b": 0.25, "c": 0.25}
PLAIN = FeatureOptions(slide_mpp=SCALES, distance="plain")
NOW = FeatureOptions()
D = 4


def slides_in(index: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for slide in histo_index.open(index).table(["slide_id"])["slide_id"].to_pylist():
        found[slide] = found.get(slide, 0) + 1
    return found


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Slides a and b of 600 tiles, imported from the folder t; one row of b is not finite."""
    for number, name in enumerate("ab"):
        slide = draw_slide(name, 600, D, seed=number)
        slide.features[5 * number, 0] = np.nan if number else 1
        write_trident(tmp_path / "t", slide)
    settle(tmp_path / "t")
    import_features(tmp_path / "t", tmp_path / "x.hx", PLAIN)
    return tmp_path / "x.hx"


def test_only_new_files_are_read_and_the_rest_stays(index: Path, tmp_path: Path) -> None:
    before, stored = list(histo_index.open(index)), histo_index.open(index).embeddings()
    # Unreadable: what is read again would be rejected.
    for path in (tmp_path / "t" / "features_uni_v2").iterdir():
        size = path.stat().st_size
        path.write_bytes(bytes(size))
    settle(tmp_path / "t")
    write_trident(tmp_path / "t", draw_slide("c", 30, D, seed=2))
    done = import_features((), index, NOW)
    assert (done.tiles, done.slides, done.read) == (1229, 3, 1)
    # The row that was rejected before is listed still.
    assert [reason.partition(": ")[2] for reason in done.reasons] == [
        "not finite: 1 of 600 rows: 5"
    ]
    assert slides_in(index) == {"a": 600, "b": 599, "c": 30}
    again = histo_index.open(index)
    row = {name: at for at, name in enumerate(again)}
    assert np.array_equal(again.embeddings()[[row[name] for name in before]], stored)
    assert read_manifest(index).generation == 2
    settle(tmp_path / "t")
    same = import_features(tmp_path / "t", index, NOW)  # c was new; now it is as it was
    assert (same.read, same.tiles) == (1, 1229)
    last = import_features((), index, NOW)
    assert (last.read, last.tiles, read_manifest(index).generation) == (0, 1229, 3)


def test_another_input_needs_add_or_replace(index: Path, tmp_path: Path) -> None:
    path = write_trident(tmp_path / "u", draw_slide("c", 900, D, seed=2))
    settle(tmp_path)
    with pytest.raises(InputError) as caught:
        import_features(tmp_path / "u", index, NOW)
    assert str(caught.value) == (
        f"{tmp_path}/u is no input of {index} yet, which holds the features of {tmp_path}/t; "
        "nothing was changed: pass --add to add it, or --replace to keep only what is named"
    )
    added = import_features([path], index, replace(NOW, add=True))
    assert (added.tiles, added.read) == (2099, 1)
    assert import_features((), index, NOW).read == 0
    kept = import_features(tmp_path / "u", index, replace(NOW, replace=True))
    assert (slides_in(index), kept.read) == ({"c": 900}, 0)
    path.unlink()
    with pytest.raises(InputError, match="no features found"):
        import_features((), index, NOW)
    (tmp_path / "u").rename(tmp_path / "v")
    with pytest.raises(InputError, match=r"/u: an input of .*x.hx that is missing; nothing was"):
        import_features((), index, NOW)
    with pytest.raises(InputError, match="contradict each other"):
        replace(NOW, add=True, replace=True)


def test_files_that_are_gone_are_dropped_but_not_most_of_the_tiles(
    index: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t" / "features_uni_v2"
    (folder / "a.h5").rename(tmp_path / "a.h5")
    with pytest.raises(InputError) as caught:
        import_features((), index, NOW)
    assert "this import would drop 600 of 1,199 tiles; nothing was changed" in str(caught.value)
    (tmp_path / "a.h5").rename(folder / "a.h5")
    (folder / "b.h5").unlink()
    assert import_features((), index, NOW).tiles == 600
    assert slides_in(index) == {"a": 600}
    write_trident(tmp_path / "t", draw_slide("a", 20, D, seed=9))
    with pytest.raises(InputError, match="would drop 580 of 600 tiles"):
        import_features((), index, NOW)
    done = import_features((), index, replace(NOW, allow_drop=True))
    assert (done.tiles, done.read) == (20, 1)


def test_new_metadata_are_joined_and_another_encoder_is_refused(
    index: Path, tmp_path: Path
) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("slide,label\na.svs,x\nb,y\n")
    options = replace(NOW, metadata=table)
    assert import_features((), index, options).read == 2
    assert (
        histo_index.open(index).table(["label"])["label"].to_pylist() == ["x"] * 600 + ["y"] * 599
    )
    assert import_features((), index, NOW).read == 0
    other = write_trident(tmp_path / "o", draw_slide("c", 30, D), encoder="conch")
    with pytest.raises(MismatchError, match="holds embeddings of uni_v2, 4 numbers; import these"):
        import_features(other, index, replace(NOW, replace=True))
    added = import_features(other, index, replace(NOW, add=True))
    assert added.reasons[0] == f"{other}: another encoder: conch; the import is of uni_v2"
    assert added.tiles == 1199


def test_removed_tiles_stay_removed(index: Path, tmp_path: Path) -> None:
    opened = histo_index.open(index)
    first = next(iter(opened))
    opened.remove(names=[first])
    histo_index.open(index).remove(where="slide_id = 'a' and x = 512 and y = 0")
    rule = Rule(column="slide_id", value="c")
    remove_tiles(
        index, histo_index.open(index).table(["image_id", "path", "sha256", "slide_id"])[:0], [rule]
    )
    write_trident(tmp_path / "t", draw_slide("c", 30, D, seed=2))
    moved = tmp_path / "t" / "features_uni_v2" / "a.h5"
    os.utime(moved, (10**8, 10**8))  # read again
    done = import_features((), index, NOW)
    assert (done.tiles, done.read) == (1197, 2)
    assert first not in list(histo_index.open(index))
    assert slides_in(index) == {"a": 598, "b": 599}
    # Not even stored: nothing is left to erase.
    assert compact(index).erased == 0
    assert import_features((), index, NOW).tiles == 1197


def test_restored_tiles_that_were_erased_are_read_again(index: Path) -> None:
    before = list(histo_index.open(index))
    gone = [before[0], before[700]]
    histo_index.open(index).remove(names=gone)
    assert compact(index).erased == 2
    # Both files lack a row, and are read once more: it may have been restored.
    assert (import_features((), index, NOW).read, list(histo_index.open(index))) == (
        2, [name for name in before if name not in gone],
    )  # fmt: skip
    assert import_features((), index, NOW).read == 0
    restored = histo_index.restore(index, names=gone[1:])
    assert describe_restore(restored).splitlines()[1] == (
        "  later     1 content no longer stored: the next `histo-index import` reads them again"
    )
    done = import_features((), index, NOW)
    assert (done.read, done.tiles) == (2, 1198)
    assert sorted(histo_index.open(index)) == sorted(set(before) - {gone[0]})
    # Another change of the index: the file that lacks a row is read once.
    for _ in range(2):
        histo_index.reindex(index)
        assert import_features((), index, NOW).read == 1
        assert import_features((), index, NOW).read == 0


def test_rows_with_their_own_ids_are_known_by_their_file(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        ids = pa.table({"image_id": [f"{name}-{n}" for n in range(3)]})
        write_npy(tmp_path / "n" / f"{name}.npy", draw_slide("", 3, D, seed=number).features, ids)
    settle(tmp_path / "n")
    import_features(tmp_path / "n", tmp_path / "x.hx", PLAIN)
    ids = pa.table({"image_id": ["one-1", "three-1"]})
    write_npy(tmp_path / "n" / "three.npy", draw_slide("", 2, D, seed=7).features, ids)
    done = import_features((), tmp_path / "x.hx", NOW)
    assert (done.read, done.tiles) == (1, 7)
    assert done.reasons == (
        f"{tmp_path}/n/three.npy: image_id that is there already: 1 of 2 rows: 0",
    )
    # The ids beside a matrix belong to it.
    (tmp_path / "n" / "two.csv").write_text("image_id\ntwo-0\ntwo-1\ntwo-nine\n")
    settle(tmp_path / "n")
    import_features((), tmp_path / "x.hx", NOW)
    assert sorted(histo_index.open(tmp_path / "x.hx"))[-3:] == ["two-0", "two-1", "two-nine"]


def test_an_index_that_no_import_made_is_not_touched(tmp_path: Path) -> None:
    histo_index.from_embeddings(["p"], [[1.0, 0.0]], tmp_path / "x.hx")
    with pytest.raises(InputError, match="holds an index that no import made"):
        import_features(tmp_path, tmp_path / "x.hx", replace(NOW, add=True))


def test_slides_without_a_row_of_metadata_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("S", "S.1"):
        write_trident(tmp_path / "t", draw_slide(name, 3, D))
    (tmp_path / "cases.csv").write_text("slide,label\nS.1,x\n")
    options = replace(PLAIN, metadata=tmp_path / "cases.csv", slide_mpp={"S": 0.25, "S.1": 0.5})
    with caplog.at_level(logging.WARNING):
        import_features(tmp_path / "t", tmp_path / "x.hx", options)
    assert "cases.csv: no row for 1 of 2 slides, such as S: their columns stay empty" in caplog.text
    table = histo_index.open(tmp_path / "x.hx").table(["slide_id", "mpp", "label"])
    assert set(zip(*table.to_pydict().values(), strict=True)) == {
        ("S", 0.5, None), ("S.1", 1.0, "x"),
    }  # fmt: skip
