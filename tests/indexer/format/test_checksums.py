"""Checksums: known values, whole files, and maps that outlive the name of their file."""

from pathlib import Path

import pytest

from histo_index.indexer.format.checksums import (
    DamagedError,
    MappedFile,
    checksum,
    file_checksum,
    require_whole,
)


def test_checksums_have_the_known_values_of_xxh3_128() -> None:
    # From the reference implementation's own list of test values.
    assert checksum(b"") == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("size", [0, 1, 2**22 - 1, 2**22, 2**22 + 1])
def test_a_file_is_hashed_as_its_bytes_are(tmp_path: Path, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "file").write_bytes(data)
    assert file_checksum(tmp_path / "file") == checksum(data)


def test_other_bytes_or_another_size_are_refused_with_both_values() -> None:
    path, good = Path("x.bin"), checksum(b"data")
    require_whole(path, data=b"data", size=4, expected=good, remedy="mend it")
    with pytest.raises(DamagedError) as caught:
        require_whole(path, data=b"dat", size=4, expected=good, remedy="mend it")
    assert str(caught.value) == "x.bin: damaged: 3 bytes, expected 4; mend it"
    with pytest.raises(DamagedError) as caught:
        require_whole(path, data=b"dada", size=4, expected=good, remedy="mend it")
    assert str(caught.value) == (
        f"x.bin: damaged: checksum {checksum(b'dada')}, expected {good}; mend it"
    )


def test_a_mapped_file_answers_after_its_name_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    mapped = MappedFile(path, size=4, remedy="")
    path.unlink()
    path.write_bytes(b"else")
    assert bytes(mapped.data) == b"data"
    (tmp_path / "empty").touch()
    assert bytes(MappedFile(tmp_path / "empty", size=0, remedy="").data) == b""
    with pytest.raises(DamagedError, match="4 bytes, expected 5; mend it"):
        MappedFile(path, size=5, remedy="mend it")
