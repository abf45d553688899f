"""Promise 31: a damaged or hostile slide costs its own rows, with the reason; the build goes on."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import pytest

from histo_index.api.slides.cut import cut_slides
from histo_index.api.slides.open import slide_pool
from histo_index.encoder.decode.decoder_process import Deaths
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.worker import PreparedTile
from histo_index.errors import ImageError
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.reading.identity import file_part
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.deadly import Deadly, Hanging
from tests.decoding import DecodingEncoder
from tests.indexer.fakes import reasons, run_build
from tests.promises.conftest import Tell, Tries
from tests.slide_files import GLASS, Pixels, SlideLook, block, write_scn, write_slide

_SIDE: Final = 384
SOURCE: Final = SlideSource(options=TileOptions(mpp=0.5, tile_size=64))
APERIO: Final = "Aperio Image Library v11\n384x384 (128x128) JPEG/RGB|AppMag = 20|MPP = 0.5"
KINDS: Final = (
    "damaged slide", "not a slide", "no scale", "too coarse", "too small", "too large",
    "no tile holds enough tissue", "too many tiles", "damaged image", "not an image",
)  # fmt: skip


@pytest.fixture(scope="module")
def plane() -> Pixels:
    drawn = np.full((_SIDE, _SIDE, 3), GLASS, np.uint8)
    drawn[64:320, 64:320] = block("glands", 3)
    return drawn


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, plane: Pixels) -> dict[str, bytes]:
    """Whole slides of four kinds: suffix to content."""
    folder = tmp_path_factory.mktemp("whole")
    tile = (128, 128)
    jpeg = SlideLook(compression="jpeg", tile=tile, options={"description": APERIO})
    return {
        "svs": write_slide(folder / "a.svs", plane, jpeg).read_bytes(),
        "tiff": write_slide(folder / "a.tiff", plane, SlideLook(tile=tile)).read_bytes(),
        "scn": write_scn(folder / "a.scn", plane, mpp=0.5, corner=(64, 32)).read_bytes(),
        "striped.svs": write_slide(folder / "b.svs", plane, SlideLook(tile=None)).read_bytes(),
    }


@pytest.fixture
def decoding(tmp_path: Path) -> Iterator[DecodingEncoder]:
    with DecodingEncoder(folder=tmp_path / "encoder") as encoder:
        yield encoder


def damage(data: bytes, dice: Random) -> bytes:
    """Cut a slide off, or change bytes: anywhere, in its header, or in its directories."""
    if dice.random() < 0.25:
        return data[: dice.randrange(len(data))]
    changed = bytearray(data)
    # Directories lie at the end of what `tifffile` writes, the header at the beginning.
    places = {
        "anywhere": (0, len(data)),
        "header": (0, 600),
        "end": (max(len(data) - 4_000, 0), len(data)),
    }
    low, high = places[dice.choice(sorted(places))]
    for _ in range(dice.choice((1, 4, 40))):
        changed[dice.randrange(low, min(high, len(data)))] = dice.choice(
            (0, 1, 255, 127, dice.randrange(256))
        )
    return bytes(changed)


def test_damaged_slides_cost_their_own_rows(
    tmp_path: Path, decoding: DecodingEncoder, whole: dict[str, bytes], tries: Tries, tell: Tell
) -> None:
    slides, seen, rejected = tries(12, 500), 0, Counter[str]()
    dice = Random(31)
    while seen < slides:
        folder = tmp_path / "slides"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for kind, data in whole.items():
            (folder / f"whole.{kind}").write_bytes(data)
        some = min(50, slides - seen)
        for number in range(some):
            kind = dice.choice(sorted(whole))
            (folder / f"{number}.{kind}").write_bytes(damage(whole[kind], dice))
        index = tmp_path / f"{seen}.hx"
        run_build(index, decoding, folder, slides=SOURCE, cut_slides=cut_slides)
        found = reasons(index)
        tiles = Counter(map(file_part, OpenIndex(index).rows["image_id"].to_pylist()))
        assert [tiles[f"whole.{kind}"] for kind in whole] == [16] * len(whole)
        # Each slide has rows, or a reason, or both where some of its tiles are damaged.
        named = {*tiles, *(path.partition("#")[0] for path in found)}
        assert {path.name for path in folder.iterdir()} - named == set()
        for reason in found.values():
            assert reason.startswith((*KINDS, "its decoder died", "its slide ended")), reason
        rejected.update(reason.split(":")[0].split(" (")[0] for reason in found.values())
        seen += some
        shutil.rmtree(index)
    assert rejected.total() > slides // 4
    tell(f"{slides} damaged slides of {len(whole)} kinds", f"{dict(rejected)}; no build ended")


def test_a_slide_whose_reading_stands_still_costs_itself() -> None:
    slides = [Path(name) for name in ("a.svs", "hang.svs", "b.svs")]
    pool: DecodePool[Path, ImageError]
    with slide_pool(Hanging(), 1, still_s=2.0) as pool:
        found = [str(entry) for entry in pool.prepare(slides)]
    assert found == [
        "a.svs: read",
        "hang.svs: reading it stood still; check its disk or network share, then try again",
        "b.svs: read",
    ]


def test_a_slide_that_ends_decoders_is_given_up_after_three(tmp_path: Path) -> None:
    tiles = [tmp_path / f"evil.svs#x={x},y=0,mpp=0.5,size=64" for x in range(20)]
    good = [tmp_path / f"missing-{number}.png" for number in range(3)]
    pool: DecodePool[Path, PreparedTile]
    with DecodePool(Deadly(), workers=1) as pool:
        found = list(pool.prepare([*tiles, *good]))
    texts = [str(entry) for entry in found]
    assert all(isinstance(entry, ImageError) for entry in found)
    assert ["its decoder died (killed by signal 9)" in text for text in texts[:3]] == [True] * 3
    assert {text.partition(": ")[2] for text in texts[3:20]} == {
        "its slide ended 3 decoders; remove the slide"
    }
    assert [text.partition(": ")[2] for text in texts[20:]] == ["a file"] * 3


def test_a_slide_that_was_given_up_is_tried_again_later_or_when_its_file_changes(
    tmp_path: Path,
) -> None:
    slide = tmp_path / "evil.svs"
    slide.write_bytes(b"evil")
    tile = Path(f"{slide}#x=0,y=0,mpp=0.5,size=64")
    seconds = 0.0
    deaths = Deaths(60, now=lambda: seconds)
    pool: DecodePool[Path, PreparedTile]
    with DecodePool(Deadly(), workers=1, deaths=deaths) as pool:

        def is_tried() -> bool:
            (found,) = pool.prepare([tile])
            return "its decoder died" in str(found)

        assert [is_tried() for _ in range(4)] == [True, True, True, False]
        seconds = 59.0
        assert not is_tried()
        seconds = 60.0
        # From the start: one death after that is not the third.
        assert [is_tried() for _ in range(4)] == [True, True, True, False]
        slide.write_bytes(b"mended")
        assert is_tried()
