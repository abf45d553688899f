"""Where tiles lie on their slides: from names of slide tiles, or from columns, never guessed."""

from pathlib import Path

import pyarrow as pa
import pytest

from histo_index.api.training.places import read_places
from histo_index.encoder.training.batches.neighbours import Place, find_touching
from histo_index.errors import InputError
from histo_index.indexer.inputs.tables import read_table
from tests.slide_files import BLOCK, PLAN, draw_plane, write_slide

FILES = ["a-x0-y0.png", "a-x64-y0.png", "a-x128-y0.png", "b.png"]


def listed(**columns: object) -> pa.Table:
    return pa.table({"path": FILES, **columns})


def test_columns_of_the_manifest_are_places_of_files(tmp_path: Path) -> None:
    path = tmp_path / "tiles.csv"
    rows = ["s1,0,0,64", "s1,64,0.5,64", ",128,0,64", "s2,,0,64"]
    text = "".join(f"{file},{row}\n" for file, row in zip(FILES, rows, strict=True))
    path.write_text("path,slide_id,x,y,span\n" + text)
    assert read_places(read_table(path), tmp_path) == [
        Place("s1", 0.0, 0.0, 64.0, 64.0), Place("s1", 64.0, 0.5, 64.0, 64.0), None, None,
    ]  # fmt: skip


def test_names_of_files_are_not_guessed_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_places(listed(), tmp_path) == [None] * 4
    caplog.set_level("INFO")
    numbers = [0, 64, 128, 0]
    assert read_places(listed(x=numbers, y=numbers), tmp_path) == [None] * 4
    assert caplog.messages == ["x and y of image files are not used: no column slide_id and span"]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("x", ["0", "64", "here", ""], "column x: .*'here'.*; expected numbers, or nothing"),
        ("span", [64, 64, 0, 64], "column span holds 0; expected sides above 0"),
    ],
)
def test_an_unusable_coordinate_is_refused(
    column: str, values: list[object], message: str, tmp_path: Path
) -> None:
    columns: dict[str, object] = {"x": [0] * 4, "y": [0] * 4, "span": [64] * 4}
    table = listed(slide_id=["s"] * 4, **columns | {column: values})
    with pytest.raises(InputError, match=message):
        read_places(table, tmp_path)


def test_slide_tiles_lie_where_their_names_say_at_the_scale_of_the_slide(tmp_path: Path) -> None:
    """The slide has 0.5 µm per pixel: a tile of 128 px at 1 µm covers 256 of its pixels."""
    write_slide(tmp_path / "s.tiff", draw_plane())
    names = [f"s.tiff#x={BLOCK * c},y={BLOCK * r},mpp=1,size=128" for _, c, r in PLAN]
    given = "s.tiff#x=0,y=0,mpp=1,size=128,slide_mpp=0.25"
    table = pa.table({"path": [*names, given, "gone.tiff#x=0,y=0,mpp=1,size=128", "b.png"]})
    *places, scaled, gone, file = read_places(table, tmp_path)
    assert places == [
        Place(str(tmp_path / "s.tiff"), BLOCK * c, BLOCK * r, 256.0, 256.0) for _, c, r in PLAN
    ]
    assert scaled == Place(str(tmp_path / "s.tiff"), 0, 0, 512.0, 512.0)
    assert (gone, file) == (None, None)
    for (_, column, row), others in zip(PLAN, find_touching(places), strict=True):
        beside = {PLAN[other][1:] for other in others}
        assert beside == {(c, r) for _, c, r in PLAN if max(abs(c - column), abs(r - row)) == 1}
