"""Which columns are private is settled by each build; builds themselves read all columns."""

from pathlib import Path

import pytest

from histo_index.errors import InputError
from histo_index.indexer.private import PrivateColumns, private_among
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import reindex
from tests.indexer.fakes import FakeEncoder, numbered, run_build, write_tiles

COUNT = 20


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    write_tiles(tmp_path / "tiles", numbered(COUNT))
    path = tmp_path / "tiles" / "list.csv"
    rows = "".join(f"{name},p{row},{row}\n" for row, name in enumerate(numbered(COUNT)))
    path.write_text("path,patient,age\n" + rows)
    return path


def values(folder: Path, *, private: bool) -> dict[str, list[object]]:
    rows = OpenIndex(folder, private=private).rows
    return {
        name: rows[name].to_pylist() for name in ("patient", "age") if name in rows.column_names
    }


def test_a_build_keeps_the_values_of_private_columns(
    tmp_path: Path, listed: Path, encoder: FakeEncoder
) -> None:
    folder, expected = tmp_path / "x.hx", [f"p{row}" for row in range(COUNT)]
    run_build(folder, encoder, listed, private=PrivateColumns(add=["patient"]))
    assert values(folder, private=False) == {"age": list(range(COUNT))}
    assert values(folder, private=True)["patient"] == expected
    # More tiles: rows of the shards that stay are taken from the generation before.
    write_tiles(tmp_path / "tiles", numbered(4, start=COUNT))
    more = "".join(f"{name},q,0\n" for name in numbered(4, start=COUNT))
    listed.write_text(listed.read_text() + more)
    run_build(folder, encoder, listed)
    assert values(folder, private=True)["patient"] == [*expected, *["q"] * 4]
    reindex(folder)
    assert values(folder, private=True)["patient"] == [*expected, *["q"] * 4]
    assert values(folder, private=False).keys() == {"age"}


def test_columns_are_settled_in_order_and_without_regard_to_case() -> None:
    found = PrivateColumns(add=["B", "a"]).settle(None, ["image_id", "path", "a", "b", "c"])
    assert found == ["a", "b"]
    assert private_among(["Patient", "label"], ["PATIENT"]) == ["Patient"]
    assert private_among(["sha256", "SHA256", "stem"], ["Sha256", "STEM"]) == ["SHA256"]
    with pytest.raises(InputError, match="the tiles have none; pass them with --manifest"):
        PrivateColumns(add=["a"]).settle(None, ["image_id", "path"])
    with pytest.raises(InputError, match="--public a: not private; private are: none"):
        PrivateColumns(drop=["a"]).settle(None, ["a"])
    for name in ("image_id", "path"):
        with pytest.raises(InputError, match="it stays public"):
            PrivateColumns(add=[name])
