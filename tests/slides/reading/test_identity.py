from pathlib import Path

import pytest

from histo_index.slides.reading.identity import SlideTile, file_part, parse_tile


def test_a_name_and_its_tile_are_the_same_thing() -> None:
    name = "case 1/ä.svs#x=1024,y=2048,mpp=0.5,size=256"
    tile = parse_tile(name)
    assert tile == SlideTile(slide="case 1/ä.svs", x=1024, y=2048, mpp=0.5, size=256)
    assert str(tile) == name
    given = SlideTile(slide="a.svs", x=0, y=0, mpp=0.5, size=256, slide_mpp=0.2461)
    assert str(given) == "a.svs#x=0,y=0,mpp=0.5,size=256,slide_mpp=0.2461"
    assert parse_tile(Path(str(given))) == given


@pytest.mark.parametrize(
    "name",
    [
        "a.svs",
        "a#x=1,y=2,mpp=0.5,size=256.png",
        "a.svs#x=1,y=2,mpp=0,size=256",
        "a.svs#x=1,y=2,mpp=0.5,size=0",
        "a.svs#x=1,y=2,mpp=nan,size=256",
        "a.svs#x=1e3,y=2,mpp=0.5,size=256",
        "#x=1,y=2,mpp=0.5,size=256",
    ],
)
def test_other_names_are_files(name: str) -> None:
    assert parse_tile(name) is None
    assert file_part(name) == name


def test_the_file_of_a_tile_is_its_slide() -> None:
    assert file_part("a#b/c.svs#x=1,y=2,mpp=0.5,size=256") == "a#b/c.svs"
