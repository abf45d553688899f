"""Where the vector of a name comes from."""

from pathlib import Path

import numpy as np

from histo_index.indexer.build import build
from histo_index.indexer.build_config import BuildConfig
from histo_index.indexer.hashing.files import hash_file
from histo_index.indexer.reader import OpenIndex
from histo_index.search.distance import take_vectors
from histo_index.search.inputs.resolve import Resolver
from tests.search.conftest import Numbers
from tests.vectors import build_numbered, unit_vectors


def test_index_names_come_first_and_encode_nothing(numbers: Numbers) -> None:
    found = numbers.resolver.resolve(["s2/a.png", "d.png", "d", "c.png", "e_1"])
    assert found.problems == [None] * 5
    expected = numbers.vectors[[2, 4, 4, 3, 5]]
    assert np.array_equal(take_vectors(numbers.index, found.extra, found.rows), expected)
    assert found.encoded == 0
    assert numbers.encoder.encoded == []


def test_an_unseen_file_is_encoded_once_under_any_number_of_names(numbers: Numbers) -> None:
    found = numbers.resolver.resolve(["new.png", "copy-of-new.png", "new", "newer.png"])
    expected = numbers.vectors[[6, 6, 6, 7]]
    assert np.array_equal(take_vectors(numbers.index, found.extra, found.rows), expected)
    assert found.encoded == 2
    assert sorted(numbers.encoder.encoded) == ["new.png", "newer.png"]


def test_a_file_whose_content_is_indexed_is_not_encoded(numbers: Numbers) -> None:
    found = numbers.resolver.resolve(["copy-of-d.png"])
    expected = numbers.vectors[[4]]
    assert np.array_equal(take_vectors(numbers.index, found.extra, found.rows), expected)
    assert numbers.encoder.encoded == []


def test_each_name_without_a_vector_has_a_reason(numbers: Numbers) -> None:
    found = numbers.resolver.resolve(["a", "nothing.png", "broken.png", "s1", "d.png"])
    assert found.rows[:4].tolist() == [-1, -1, -1, -1]
    assert [problem and str(problem) for problem in found.problems] == [
        "a: several tiles have this file name; name one by its path or image id",
        f"nothing.png: not in the index, and no such file in {numbers.tiles}; check the name, or "
        "build it in",
        f"{numbers.tiles / 'broken.png'}: not an image: no number in it",
        f"s1: not in the index, and no such file in {numbers.tiles}; check the name, or "
        "build it in",
        None,
    ]


def test_a_changed_file_is_taken_as_it_is_now_only_if_files_are_preferred(
    numbers: Numbers,
) -> None:
    (numbers.tiles / "d.png").write_text("7")
    by_name = numbers.resolver.resolve(["d.png"])
    by_file = numbers.resolver.resolve(["d.png"], prefer_files=True)
    assert np.array_equal(
        take_vectors(numbers.index, by_name.extra, by_name.rows), numbers.vectors[[4]]
    )
    assert np.array_equal(
        take_vectors(numbers.index, by_file.extra, by_file.rows), numbers.vectors[[7]]
    )


def test_preferring_files_still_finds_names_without_files(numbers: Numbers) -> None:
    (numbers.tiles / "d.png").unlink()
    found = numbers.resolver.resolve(["d.png", "s1/a.png"], prefer_files=True)
    assert np.array_equal(
        take_vectors(numbers.index, found.extra, found.rows), numbers.vectors[[4, 0]]
    )


def test_known_names_are_found_in_index_and_files(numbers: Numbers) -> None:
    names = ["d.png", "new", "nothing", "a"]
    assert numbers.resolver.are_indexed(names) == [True, False, False, False]
    assert numbers.resolver.are_files(names) == [True, True, False, False]


def test_of_equal_contents_the_one_with_the_files_own_name_is_taken(tmp_path: Path) -> None:
    names = ["a/x.png", "b/x.png", "c/y.png"]
    folder, encoder = build_numbered(tmp_path, unit_vectors(3, 16), names)
    for name in names:
        (tmp_path / "tiles" / name).write_text("1")
    build(BuildConfig(sources=[tmp_path / "tiles"], output=folder, allow_drop=True), encoder)
    index = OpenIndex(folder)
    resolver = Resolver(index, encoder.encode_files, root=tmp_path)
    found = resolver.resolve([f"tiles/{name}" for name in names], prefer_files=True)
    assert [index.row(row)["image_id"] for row in found.rows.tolist()] == names


def test_a_tile_is_found_by_the_hash_of_its_content(numbers: Numbers) -> None:
    found = numbers.resolver.resolve([hash_file(numbers.tiles / "d.png"), "0" * 64])
    assert found.rows.tolist() == [4, -1]


def test_names_that_are_not_utf8_are_missing(numbers: Numbers) -> None:
    found = numbers.resolver.resolve(["x\udcff.png"])
    assert found.rows.tolist() == [-1]
    assert str(found.problems[0]).startswith("x\\udcff.png: not in the index")


def test_odd_names_are_missing_and_not_an_error(numbers: Numbers) -> None:
    names = ["", "\x00", ".", "..", "/", "x" * 5000, "s1/", str(Path("/"))]
    distinct = list(dict.fromkeys(names))
    found = numbers.resolver.resolve(distinct)
    assert found.rows.tolist() == [-1] * len(distinct)
    assert all(problem for problem in found.problems)
