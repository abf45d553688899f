"""What `info` and `doctor` say of an index and of this machine."""

from pathlib import Path

import pytest

from histo_index.api.doctor import diagnose
from histo_index.api.info import index_facts
from histo_index.errors import IndexFormatError
from tests.indexer.fakes import FakeEncoder, flip, run_build


@pytest.fixture
def index(tiles: Path, tmp_path: Path, encoder: FakeEncoder) -> Path:
    run_build(tmp_path / "tiles.hx", encoder, tiles)
    return tmp_path / "tiles.hx"


def test_several_damaged_files_are_reported_on_one_line(index: Path) -> None:
    for name in ("vectors.npy", "blocks.npy"):
        (index / "search" / "000001" / name).write_bytes(b"x")
    (index / "encoder" / "config.json").write_bytes(b"x")
    with pytest.raises(IndexFormatError) as caught:
        index_facts(index, verify=False)
    assert str(caught.value).startswith(f"3 files are damaged; the first: {index}/")
    assert "\n" not in str(caught.value)


def test_remedy_for_an_encoder_file_names_the_build_option(
    index: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    flip(index / "encoder" / "model.safetensors", 0)
    with pytest.raises(IndexFormatError) as caught:
        index_facts(index, verify=True)
    assert str(caught.value).endswith(
        "; restore it, or run `histo-index build` again with --encoder DIR"
    )
    run_build(index, encoder, tmp_path / "tiles")
    index_facts(index, verify=True)


def test_the_names_of_facts_have_no_spaces(index: Path) -> None:
    assert not [
        name for name in (*index_facts(index, verify=False), *diagnose().facts) if " " in name
    ]
