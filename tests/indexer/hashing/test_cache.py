"""A build reads no tile file again that is as it was, and believes nothing damaged."""

import hashlib
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histo_index.indexer.hashing.cache import STATES_NAME, read_states, write_states
from histo_index.indexer.hashing.tiles import STATES
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    flip,
    numbered,
    reasons,
    require_sound,
    run_build,
    write_tiles,
)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files hashed, in order; all count as long unchanged."""
    names: list[str] = []
    digest = hashlib.file_digest

    def note(file: IO[bytes], kind: str) -> Any:
        names.append(Path(file.name).name)
        return digest(file, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", note)
    return names


def build_and_tell(
    output: Path, encoder: FakeEncoder, tiles: Path, read: list[str], **options: Any
) -> set[str]:
    read.clear()
    run_build(output, encoder, tiles, **options)
    require_sound(output, expected_rows(tiles, sorted(p.name for p in tiles.iterdir())))
    return set(read)


def test_only_new_and_changed_files_are_read(
    tiles: Path, output: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    assert build_and_tell(output, encoder, tiles, read) == set(numbered(20))
    assert build_and_tell(output, encoder, tiles, read) == set()
    kept = (output / STATES_NAME).read_bytes()
    write_tiles(tiles, ["new.png"])
    (tiles / "t0003.png").write_bytes(b"other")
    (tiles / "t0004.png").unlink()
    assert build_and_tell(output, encoder, tiles, read) == {"new.png", "t0003.png"}
    assert (output / STATES_NAME).read_bytes() != kept
    assert read_states(output)["path"].to_pylist() == sorted(p.name for p in tiles.iterdir())
    assert build_and_tell(output, encoder, tiles, read, rehash=True) == {
        path.name for path in tiles.iterdir()
    }


def test_resumed_build_reads_no_file_again(
    tiles: Path, output: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    def stop(path: Path) -> None:
        if path.name == numbered(20)[13]:
            raise KeyboardInterrupt

    encoder.before = stop
    with pytest.raises(KeyboardInterrupt):
        run_build(output, encoder, tiles)
    assert set(read) == set(numbered(20))
    encoder.before = lambda path: None
    assert build_and_tell(output, encoder, tiles, read) == set()


def test_damaged_hash_cache_is_reported_and_every_file_read(
    tiles: Path,
    output: Path,
    encoder: FakeEncoder,
    read: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_build(output, encoder, tiles)
    path = output / STATES_NAME
    whole = path.read_bytes()
    digest = read_states(output)["sha256"][7].as_py().encode()
    pq.write_table(read_states(output), path, compression="NONE", write_page_checksum=True)
    at = path.read_bytes().index(digest)
    flip(path, 8 * at)
    for damaged in (path.read_bytes(), whole[:-9], b"", b"no Parquet"):
        path.write_bytes(damaged)
        caplog.clear()
        assert build_and_tell(output, encoder, tiles, read) == set(numbered(20))
        assert [record.message.split(":")[0] for record in caplog.records] == [str(path)]
        assert caplog.records[0].message.endswith("every tile is read again")
        assert path.read_bytes() == whole


def test_hash_cache_of_another_form_is_reported_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pq.write_table(pa.table({"path": ["a.png"]}), tmp_path / STATES_NAME)
    assert read_states(tmp_path).equals(STATES.empty_table())
    assert caplog.messages == [
        f"{tmp_path / STATES_NAME}: of another version; every tile is read again"
    ]


def test_known_states_are_not_written_again(tmp_path: Path) -> None:
    states = pa.table([["ä.png"], [1], [-2], [3], [2**64 - 1], ["0" * 64]], schema=STATES)
    write_states(tmp_path, states, before=STATES.empty_table())
    assert read_states(tmp_path).equals(states)
    (tmp_path / STATES_NAME).unlink()
    write_states(tmp_path, states, before=states)
    assert not (tmp_path / STATES_NAME).exists()


def test_unwritable_hash_cache_is_reported_and_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    states = pa.table([["a.png"], [1], [2], [3], [4], ["0" * 64]], schema=STATES)
    (tmp_path / STATES_NAME).mkdir()
    write_states(tmp_path, states, before=STATES.empty_table())
    assert caplog.messages == [
        f"{tmp_path / STATES_NAME}: cannot be written (Is a directory); the next build reads every "
        "tile again"
    ]
    assert [path.name for path in tmp_path.iterdir()] == [STATES_NAME]


def test_a_file_that_is_found_other_than_it_is_known_is_read_by_the_next_build(
    tiles: Path, output: Path, encoder: FakeEncoder, read: list[str]
) -> None:
    run_build(output, encoder, tiles)
    # As where a content changed and nothing of the file tells it.
    states = read_states(output)
    row = states["path"].to_pylist().index("t0007.png")
    digests = states["sha256"].to_pylist()
    digests[row] = "0" * 64
    write_states(output, states.set_column(5, "sha256", pa.array(digests)), before=states)
    changed = "changed while the index was being built: run the build again"
    report = run_build(output, encoder, tiles)
    assert (report.tiles, reasons(output)) == (19, {"t0007.png": changed})
    assert build_and_tell(output, encoder, tiles, read) == {"t0007.png"}
    assert read_states(output)["path"].to_pylist() == numbered(20)
