"""Which matrices are imported, and why the others are not."""

from dataclasses import replace
from pathlib import Path

import pytest

from histo_index.errors import InputError
from histo_index.features.choose import choose_parts
from histo_index.features.containers.part import Facts, slide_name
from histo_index.features.find import find_files

FEATURES = Facts(
    path="f/s.h5", tool="TRIDENT", slide="s", encoder="uni_v2", rows=10, size=8, has_places=True,
    size_px=256, span_px=512.0,
)  # fmt: skip
PLACES = replace(FEATURES, path="p/s.h5", size=0, encoder=None)
OTHER = replace(FEATURES, path="f/t.h5", slide="t")


def reasons(*parts: Facts, encoder: str | None = None) -> list[tuple[str, str]]:
    choice = choose_parts(parts, encoder)
    return [(entry.path, entry.reason) for entry in choice.rejected]


def test_a_second_file_of_a_slide_is_rejected() -> None:
    again = replace(FEATURES, path="g/s.h5")
    assert reasons(FEATURES, again) == [("g/s.h5", "two files of one slide: also f/s.h5")]


def test_the_tensor_that_clam_writes_beside_each_h5_is_no_second_file() -> None:
    tensor = replace(FEATURES, path="pt/s.pt", has_places=False)
    choice = choose_parts([tensor, FEATURES], None)
    assert [one.facts.path for one in choice.chosen] == ["f/s.h5"]
    assert (choice.ignored, choice.rejected) == (1, [])
    longer = replace(tensor, rows=11)
    assert reasons(longer, FEATURES) == [("pt/s.pt", "two files of one slide: also f/s.h5")]


def test_places_and_sizes_come_from_the_patch_file() -> None:
    bare = replace(FEATURES, has_places=False, size_px=None, span_px=None)
    (one,) = choose_parts([bare, PLACES], None).chosen
    assert (one.places, one.facts.size_px, one.facts.span_px) == ("p/s.h5", 256, 512.0)
    known = replace(bare, has_places=True)
    (two,) = choose_parts([known, PLACES], None).chosen
    assert (two.places, two.facts.size_px) == ("p/s.h5", 256)
    assert reasons(bare) == [
        ("f/s.h5", "no places: pass the file with the coordinates of its tiles too")
    ]
    assert reasons(known) == [
        ("f/s.h5", "no size of a patch: pass the file with the attributes of its tiles too")
    ]


def test_places_that_two_files_give_are_not_guessed() -> None:
    bare = replace(FEATURES, has_places=False)
    second = replace(PLACES, path="q/s.h5")
    assert reasons(bare, PLACES, second) == [
        ("f/s.h5", "places of its slide twice: p/s.h5 and q/s.h5; pass the folder of one")
    ]
    assert reasons(FEATURES, PLACES, second) == []


def test_places_without_features_are_ignored() -> None:
    choice = choose_parts([FEATURES, replace(PLACES, slide="other")], None)
    assert (choice.ignored, choice.rejected, len(choice.chosen)) == (1, [], 1)


def test_places_of_another_length_are_refused_with_both() -> None:
    assert reasons(FEATURES, replace(PLACES, rows=9)) == [
        ("f/s.h5", "another length: 10 rows, but p/s.h5 has 9 places")
    ]


def test_the_size_of_most_rows_is_imported() -> None:
    small = replace(OTHER, size=4, rows=9)
    assert reasons(small, FEATURES) == [("f/t.h5", "another size: 4 numbers; the import has 8")]


def test_the_encoder_of_most_files_is_imported_or_the_one_asked_for() -> None:
    odd = replace(FEATURES, path="f/u.h5", slide="u", encoder="conch")
    assert reasons(FEATURES, OTHER, odd) == [
        ("f/u.h5", "another encoder: conch; the import is of uni_v2")
    ]
    assert choose_parts([FEATURES, OTHER, odd], "conch").encoder == "conch"
    with pytest.raises(InputError) as caught:
        choose_parts([FEATURES, odd], None)
    assert str(caught.value) == (
        "features of several encoders: conch, uni_v2; pass one of them as --encoder-name"
    )


def test_of_several_matrices_in_a_file_the_others_are_ignored() -> None:
    parts = [replace(FEATURES, part=f"features/{name}", encoder=name) for name in ("a", "b")]
    choice = choose_parts(parts, "b")
    assert ([one.facts.part for one in choice.chosen], choice.ignored) == (["features/b"], 1)
    assert (choice.rejected, choice.encoder) == ([], "b")


def test_a_name_for_all_needs_no_file_to_say_it() -> None:
    choice = choose_parts([FEATURES, OTHER], "UNI 2, run in March")
    assert (choice.encoder, len(choice.chosen)) == ("UNI 2, run in March", 2)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/S-01.svs.h5", "S-01.svs"),
        ("a/S-01_patches.h5", "S-01"),
        ("a/S.1.coordinates.npz", "S.1"),
        ("a/S.zarr", "S"),
    ],
)
def test_slides_are_named_by_files(path: str, name: str) -> None:
    assert slide_name(Path(path)) == name


def test_files_are_found_below_folders_and_stores_are_whole(tmp_path: Path) -> None:
    for name in ("b/x.h5", "b/log.txt", ".hidden/y.h5", "z.zarr/c/0.h5", "t.npy", "t.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path.parent / "out.h5").write_bytes(b"")
    (tmp_path / "link.h5").symlink_to(tmp_path.parent / "out.h5")
    found = find_files([tmp_path])
    names = [path.relative_to(tmp_path).as_posix() for path in found.files]
    assert names == ["t.npy", "z.zarr", "b/x.h5"]
    assert found.ignored == 2  # the log, and the ids of t.npy
    assert [entry.reason for entry in found.rejected] == [
        "a symbolic link out of the source folder"
    ]
    with pytest.raises(InputError, match="no such file or folder"):
        find_files([tmp_path / "none"])
