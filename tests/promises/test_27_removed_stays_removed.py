"""Promise 27: what was removed stays out, by content and by rules; restore undoes, purge erases."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.api.info import index_facts
from histo_index.errors import InputError
from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.format.removed import BY_CONTENT, read_removed
from histo_index.indexer.format.shards import embeddings_of
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.removal.compact import compact
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import distinct
from histo_index.indexer.writing.commit import reindex
from histo_index.search.answers.removal import RemoveConfig, remove, restore
from histo_index.search.calibration.calibration import store_calibration
from histo_index.search.calibration.otsu import guess
from histo_index.search.marks.file import append_mark
from histo_index.search.marks.record import TileMark
from tests.indexer.fakes import (
    FakeEncoder,
    embedding_of,
    indexed_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)
from tests.promises.child import KILLED, ChildBuilds
from tests.promises.conftest import Tell, Tries

# Patients of ten tiles each: ten are removed by rule, ten by a list of their tiles.
PATIENTS = 30
BY_RULE = [f"00{number}" for number in range(10)]
RULES = f"patient_id IN ({', '.join(map(repr, BY_RULE))})"
NAMES = numbered(10 * PATIENTS)
LISTED = NAMES[100:200]


class Archive:
    """Tiles of patients, the manifest that lists them, and their index."""

    def __init__(self, folder: Path) -> None:
        self.tiles = write_tiles(folder / "tiles", NAMES)
        self.patients = {name: f"{number // 10:03d}" for number, name in enumerate(NAMES)}
        self.list = self.tiles / "list.csv"
        self.output = folder / "tiles.hx"
        self.encoder = FakeEncoder(folder=folder / "fake-encoder")
        self.gone = {self.content(name) for name in NAMES[:200]}

    def content(self, name: str) -> str:
        return hashlib.sha256((self.tiles / name).read_bytes()).hexdigest()

    def build(self, *sources: Path, **options: Any) -> dict[str, int]:
        """Build from the manifest, unless sources are given; gives what was left out."""
        rows = [f"{name},{patient}\n" for name, patient in self.patients.items()]
        self.list.write_text("path,patient_id\n" + "".join(rows))
        given = sources or (self.list,)
        options["replace"] = True
        return dict(run_build(self.output, self.encoder, *given, shard_rows=64, **options).left_out)

    def remove(self) -> None:
        remove(OpenIndex(self.output), RemoveConfig(where=RULES, names=LISTED))

    def live(self) -> set[str]:
        index = OpenIndex(self.output)
        contents = index.rows["sha256"].take(pa.array(index.live_rows()))
        assert len(contents) == index.manifest.tiles
        return set(contents.to_pylist())

    def move(self, name: str, target: str) -> None:
        (self.tiles / target).parent.mkdir(exist_ok=True)
        (self.tiles / name).rename(self.tiles / target)
        self.patients[target] = self.patients.pop(name)


@pytest.fixture(scope="module")
def removed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive that lost some tiles."""
    folder = tmp_path_factory.mktemp("removed")
    made = Archive(folder)
    assert made.build() == {}
    made.remove()
    return folder


@pytest.fixture
def archive(tmp_path: Path, removed: Path) -> Archive:
    shutil.copytree(removed, tmp_path, dirs_exist_ok=True)
    return Archive(tmp_path)


def test_nothing_that_was_removed_comes_back(
    archive: Archive, children: ChildBuilds, tell: Tell
) -> None:
    by_rule = {f"rule patient_id = '{patient}'": 10 for patient in BY_RULE}
    came_back: list[str] = []
    kept = {archive.content(name) for name in NAMES[200:]}

    def look(what: str, left_out: dict[str, int], expected: dict[str, int]) -> None:
        live = archive.live()
        came_back.extend(f"{what}: {content}" for content in live & archive.gone)
        assert live == kept, what
        assert left_out == expected, what

    look("removed", {}, {})
    look("rebuilt", archive.build(), by_rule | {BY_CONTENT: 100})
    for name in NAMES[:200:2]:
        archive.move(name, f"moved/{name}")
    look("renamed", archive.build(), by_rule | {BY_CONTENT: 100})
    look("another root", archive.build(archive.tiles.parent), {BY_CONTENT: 200})
    for name in [name for name in archive.patients if name.startswith("moved/")]:
        shutil.copy(archive.tiles / name, archive.tiles / f"copy-of-{Path(name).name}")
    look("copied", archive.build(archive.tiles), {BY_CONTENT: 300})
    for number in range(100):
        # Another file of a removed patient, as after encoding its tiles again.
        name = f"again-{number:03d}.png"
        (archive.tiles / name).write_text(f"tile {number}, encoded again")
        archive.patients[name] = BY_RULE[number // 10]
        archive.gone.add(archive.content(name))
    doubled = dict.fromkeys(by_rule, 20)
    look("encoded again", archive.build(), doubled | {BY_CONTENT: 100})
    assert compact(archive.output).erased == 0
    look("retried", archive.build(retry_rejected=True, rehash=True), doubled | {BY_CONTENT: 100})
    reindex(archive.output)
    look("without the column", archive.build(archive.tiles), {BY_CONTENT: 400})
    _kill_builds(archive, children)
    look("killed", archive.build(), doubled | {BY_CONTENT: 100})
    (archive.output / "manifest.json").unlink()
    look("manifest lost", archive.build(), doubled | {BY_CONTENT: 100})
    tell("200 removed tiles, 11 ways to build again", f"{len(came_back)} came back")
    assert came_back == []


def _kill_builds(archive: Archive, children: ChildBuilds) -> None:
    """Kill builds of everything below the tiles' folder at some moments; look after each."""
    for step in (4, 8, 12, 16):
        (archive.tiles / "t0299.png").write_text(f"tile t0299.png, {step}")
        answer = children.run(archive.tiles, archive.output, shard_rows=64, die_at=step)
        assert answer["status"] == KILLED
        assert not archive.live() & archive.gone
    (archive.tiles / "t0299.png").write_text("tile t0299.png")


def test_tiles_of_a_removed_patient_are_found_as_the_column_is_typed(archive: Archive) -> None:
    # 001 is text: neither 1 nor 0010 is that patient.
    archive.patients = {"t0290.png": "1", "t0291.png": "0010", "t0292.png": "001", "t0293.png": "x"}
    assert archive.build() == {"rule patient_id = '001'": 1}
    assert archive.live() == {archive.content(f"t029{digit}.png") for digit in "013"}


def test_other_content_under_a_removed_name_is_a_new_tile(archive: Archive) -> None:
    (archive.tiles / LISTED[0]).write_text("another picture")
    (archive.tiles / NAMES[0]).write_text("another picture of a removed patient")
    archive.build()
    index = OpenIndex(archive.output)
    assert index.row(int(index.find_names(pa.array([LISTED[0]]))[0]))["sha256"] == archive.content(
        LISTED[0]
    )
    assert index.find_names(pa.array([NAMES[0]])).tolist() == [-1]


def test_rule_that_cannot_be_applied_is_reported(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    archive.build(archive.tiles)
    assert caplog.messages[-1] == (
        "10 rules on patient_id cannot be applied: these tiles have no such column, or of another "
        "type; tiles removed before stay out by content, but new ones do not: pass the manifest "
        "that has the column"
    )


def test_a_build_of_removed_tiles_alone_changes_nothing(archive: Archive) -> None:
    archive.patients = {name: archive.patients[name] for name in (*NAMES[:1], *LISTED)}
    with pytest.raises(InputError) as caught:
        archive.build()
    assert str(caught.value) == (
        f"{archive.list}: no tile is left, and nothing was changed: 1 × rule patient_id = '000', "
        f"100 × {BY_CONTENT}; pass other tiles, or see `histo-index restore`"
    )
    assert len(archive.live()) == 100


def test_counts_are_of_live_tiles_in_every_state(archive: Archive) -> None:
    def facts() -> list[int]:
        found = index_facts(archive.output, verify=True)
        return [found[name] for name in ("tiles", "removed", "removed_stored", "purged")]

    assert facts() == [100, 200, 200, 0]
    archive.build()
    assert facts() == [100, 200, 0, 0]
    restore(archive.output, names=LISTED[:50])
    assert facts() == [100, 150, 0, 0]
    archive.build()
    assert facts() == [150, 150, 0, 0]
    remove(OpenIndex(archive.output), RemoveConfig(names=LISTED[:50], purge=True))
    assert facts() == [100, 200, 0, 50]


@pytest.mark.parametrize("between", ["nothing", "compact", "build"])
def test_restore_undoes_all_of_it(tmp_path: Path, between: str) -> None:
    archive = Archive(tmp_path)
    archive.build()
    before = indexed_rows(OpenIndex(archive.output))
    archive.remove()
    steps: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "compact": lambda: compact(archive.output),
        "build": archive.build,
    }
    steps[between]()
    is_stored = between == "nothing"
    report = restore(archive.output, names=LISTED)
    assert (report.restored, report.later) == ((100, 0) if is_stored else (0, 100))
    with pytest.raises(
        InputError, match=r"t0000.png: kept out by the rule patient_id = '000'; not"
    ):
        restore(archive.output, names=["t0000.png"])
    with pytest.raises(
        InputError, match="no such standing rule; the index has: patient_id = '000'"
    ):
        restore(archive.output, rule="patient_id = '029'")
    report = restore(archive.output, rule=RULES)
    assert (report.restored, report.later) == ((100, 0) if is_stored else (0, 100))
    assert report.rules == [f"patient_id = '{patient}'" for patient in BY_RULE]
    assert len(read_removed(archive.output, read_manifest(archive.output)).table) == 0
    if is_stored:
        assert indexed_rows(OpenIndex(archive.output)) == before
    archive.encoder.encoded.clear()
    assert archive.build() == {}
    assert len(archive.encoder.encoded) == (0 if is_stored else 200)
    require_sound(archive.output, before)


class Purging:
    """An index of many files, to be purged of tiles with names that stand nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.ids = ["purge-me-1", "purge-me-2", "purge-me-3"]
        self.paths = ["wsi/purge-this-1.png", "wsi/purge-this-2.png", "wsi/purge-this-3.png"]
        self.tiles = write_tiles(folder / "tiles", [*NAMES[:130], *self.paths])
        self.contents = [(self.tiles / path).read_bytes() for path in self.paths]
        write_tiles(self.tiles, ["bad.png"], content="broken {}")
        rows = [f"{name},{name},x" for name in [*NAMES[:130], "bad.png"]]
        # At the end, so that their shard is small and an interrupted build writes it again.
        rows += [f"{a},{b},secret-{a}" for a, b in zip(self.ids, self.paths, strict=True)]
        # Rejected, for a reason that names the image id.
        rows.append("purge-me-1,t0001x.png,x")
        self.list = self.tiles / "list.csv"
        self.list.write_text("\n".join(["image_id,path,label", *rows, ""]))
        self.output = folder / "tiles.hx"
        self.encoder = FakeEncoder(folder=folder / "fake-encoder")
        self.build()

    def build(self) -> None:
        run_build(
            self.output, self.encoder, self.list, shard_rows=32, distance="diffused", replace=True,
            search=SearchConfig(structure="IVF4,Flat", recall=0.5),
        )  # fmt: skip

    def interrupt_a_build(self) -> None:
        def interrupt(path: Path) -> None:
            if path.name == NAMES[199]:
                raise KeyboardInterrupt

        self.encoder.before = interrupt
        write_tiles(self.tiles, NAMES[130:200])
        rows = "".join(f"{name},{name},y\n" for name in NAMES[130:200])
        before = self.list.read_text()
        self.list.write_text(before + rows)
        with pytest.raises(KeyboardInterrupt):
            self.build()
        self.list.write_text(before)
        self.encoder.before = lambda path: None

    def traces(self) -> list[str]:
        """Name the files of the index that hold an id, a path, metadata or an embedding."""
        words = [*self.ids, *self.paths, "secret-"]
        numbers = [embedding_of(content).astype(np.float16) for content in self.contents]
        found = []
        for path in self.output.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                text = _as_text(path, data)
                is_named = any(word in text for word in words)
                is_stored = any(
                    n.astype(kind).tobytes() in data for n in numbers for kind in ("<f2", "<f4")
                )
                found += [path.name] if is_named or is_stored else []
        return sorted(found)


def _as_text(path: Path, data: bytes) -> str:
    """Write out all a file holds, compressed columns too."""
    if path.suffix == ".parquet":
        return str(pq.read_table(io.BytesIO(data)).to_pylist())
    if path.suffix == ".arrow":
        return str(pa.ipc.open_file(data).read_all().to_pylist())
    return data.decode("latin-1")


def test_purge_leaves_nothing_but_hashes(tmp_path: Path) -> None:
    made = Purging(tmp_path)
    store_calibration(made.output, guess(OpenIndex(made.output)))
    made.interrupt_a_build()
    rows = OpenIndex(made.output).rows
    tile = rows["sha256"][rows["image_id"].to_pylist().index("purge-me-1")].as_py()
    said = TileMark(tile=tile, label="purge-me-1 is fat", user=None, time="now")
    append_mark(made.output, said)
    before = made.traces()
    assert {
        "rows.arrow", "hashed.parquet", "plan.parquet", "rejected-000001.parquet", "marks.jsonl",
    } <= set(before)  # fmt: skip
    remove(OpenIndex(made.output), RemoveConfig(where="image_id like 'purge-me-%'"))
    assert "removed-000002.parquet" in made.traces()
    report = remove(OpenIndex(made.output), RemoveConfig(purge=True)).purged
    assert report is not None
    assert (report.contents, report.rows) == (3, 3)
    assert (report.is_calibration_erased, report.is_distance_refitted) == (True, True)
    assert made.traces() == []
    assert not (made.output / "calibration.json").exists()
    manifest = read_manifest(made.output)
    assert manifest.tiles == 130
    index_facts(made.output, verify=True)
    # Distances are those of an index that never had these tiles.
    tables = [
        pq.read_table(io.BytesIO((made.output / s.file.path).read_bytes())) for s in manifest.shards
    ]
    fitted = fit_diffusion(distinct(np.concatenate([embeddings_of(t) for t in tables])))
    stored = np.load(made.output / manifest.files["transform"].path)
    for name, values in fitted.arrays().items():
        np.testing.assert_array_equal(stored[name], values)
    # LazyGpuSearch builds neither take the tiles in nor write down where they lie.
    for _ in range(2):
        made.build()
        # But for the reason why a row of the user's own manifest is rejected.
        assert [name for name in made.traces() if not name.startswith("rejected-")] == []
    assert made.encoder.encoded == []


def test_purged_tiles_come_back_only_if_that_is_said(archive: Archive) -> None:
    remove(OpenIndex(archive.output), RemoveConfig(names=LISTED[:30], purge=True))
    assert restore(archive.output, everything=True).purged == 30
    archive.build()
    assert len(archive.live()) == 270
    report = restore(archive.output, everything=True, purged=True)
    assert (report.restored, report.later, report.purged) == (0, 30, 0)
    archive.build()
    assert len(archive.live()) == 300
    assert json.loads((archive.output / "manifest.json").read_bytes())["tiles"] == 300


def test_purging_rounds_leave_no_trace(tmp_path: Path, tries: Tries, tell: Tell) -> None:
    archive = Archive(tmp_path)
    archive.build()
    rounds = tries(3, 30)
    for number in range(rounds):
        gone = NAMES[5 * number : 5 * number + 5]
        remove(OpenIndex(archive.output), RemoveConfig(names=gone, purge=True))
        archive.build()
        assert not archive.live() & {archive.content(name) for name in NAMES[: 5 * number + 5]}
    tell(f"{rounds} rounds of purging and building", "0 of the purged tiles came back")
    assert read_manifest(archive.output).tiles == 300 - 5 * rounds
