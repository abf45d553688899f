"""The scale of queries and cuts is compared with that of index and encoder."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histo_index.api.scale.check import check_cut, describe_scale
from histo_index.api.scale.known import index_scale, row_scales
from histo_index.api.scale.queries import QueryScales, ScaleJudge
from histo_index.errors import ImageError, InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.slides.scale import Scale
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.decoding import DecodingEncoder
from tests.indexer.fakes import run_build
from tests.slide_files import cut_here, draw_plane, write_slide

HALF = SlideSource(options=TileOptions(mpp=0.5))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    root = tmp_path_factory.mktemp("scale")
    write_slide(root / "data/s.svs", draw_plane())
    with DecodingEncoder(folder=root / "encoder", workers=1) as encoder:
        run_build(root / "x.hx", encoder, root / "data", slides=HALF, cut_slides=cut_here)
    config = {"preprocessing": {"resize_px": 128, "crop_px": 100}}
    (root / "x.hx/encoder/config.json").write_text(json.dumps(config))
    return OpenIndex(root / "x.hx")


def tile(mpp: float, size: int = 256) -> Path:
    return Path(f"s.svs#x=3,y=5,mpp={mpp},size={size}")


def judge(index: OpenIndex, *, mpp: float | None = None, any_mpp: bool = False) -> ScaleJudge:
    return ScaleJudge(QueryScales(index, mpp=mpp, any_mpp=any_mpp), None)


def test_the_scale_of_an_index_is_that_of_its_tiles_at_the_network(index: OpenIndex) -> None:
    assert index_scale(index) == Scale(um_per_px=(1.0, 1.0), field_um=(100.0, 100.0))
    assert row_scales(index, np.array([3, 0])).tolist() == [1.0, 1.0]


def test_a_query_of_another_scale_is_mentioned_or_refused(
    index: OpenIndex, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [tile(0.5), tile(1.0, 128), tile(0.6), tile(0.8), tile(0.25)]
    comparing = judge(index)
    with caplog.at_level(logging.INFO):
        found = [comparing.check_image(str(path), path, 256, 256) for path in asked]
        comparing.log()
    assert [isinstance(why, ImageError) for why in found] == [False] * 3 + [True] * 2
    assert str(found[3]) == (
        "s.svs#x=3,y=5,mpp=0.8,size=256: another scale: the image has 1.6 µm per pixel as "
        "the encoder sees it, the index has 1: a factor of 1.60; pass tiles of one scale, or "
        "--any-mpp to compare them nevertheless"
    )
    assert [record.getMessage() for record in caplog.records] == [
        "1 image: another scale: the image has 1.2 µm per pixel as the encoder sees it, "
        "the index has 1: a factor of 1.20",
    ]
    lenient = judge(index, any_mpp=True)
    assert [lenient.check_image("a", path, 256, 256) for path in asked] == [None] * 5


def test_the_scale_that_the_user_gives_is_that_of_files_and_not_of_slide_tiles(
    index: OpenIndex,
) -> None:
    scales = QueryScales(index, mpp=2.0, any_mpp=False)
    assert scales.of_image(Path("a.png"), 300, 64) == 1.0
    assert scales.of_image(None, 128, 256) == 2.0
    assert scales.of_image(tile(0.5), 256, 256) == 1.0
    assert QueryScales(index, mpp=None, any_mpp=False).of_image(Path("a.png"), 9, 9) is None
    for mpp in (0.0, -1.0, float("nan"), 1000.0):
        with pytest.raises(InputError, match=r"--mpp .*: expected 0.02 to 20 microns per pixel"):
            QueryScales(index, mpp=mpp, any_mpp=False)


def test_what_is_unknown_is_said_if_the_image_or_the_index_has_a_scale(
    index: OpenIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with DecodingEncoder(folder=tmp_path / "encoder", workers=1) as encoder:
        Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
        run_build(tmp_path / "x.hx", encoder, tmp_path / "a.png")
    caplog.clear()
    for where, mpp in (
        (index, None),
        (OpenIndex(tmp_path / "x.hx"), None),
        (OpenIndex(tmp_path / "x.hx"), 0.5),
    ):
        comparing = judge(where, mpp=mpp)
        assert comparing.check_image("a.png", Path("a.png"), 40, 40) is None
        comparing.log()
    assert caplog.messages == [
        "scale unchecked: microns per pixel of 1 image are unknown",
        "scale unchecked: microns per pixel of the index are unknown",
    ]


@dataclass
class Runner:
    """An encoder as far as scales are concerned."""

    mpp: float | None
    config: Any = field(init=False)

    def __post_init__(self) -> None:
        self.config = SimpleNamespace(mpp=self.mpp, preprocessing=SimpleNamespace(resize_px=128))


def test_a_cut_is_compared_with_the_encoder_and_with_the_index_it_is_added_to(
    index: OpenIndex, caplog: pytest.LogCaptureFixture
) -> None:
    def check(known: Path | None, mpp: float | None, cut: float, *, any_mpp: bool = False) -> None:
        source = SlideSource(options=TileOptions(mpp=cut))
        check_cut(known, Runner(mpp), source, any_mpp=any_mpp)  # type: ignore[arg-type]

    check(None, None, 0.5)
    check(None, 1.02, 0.5)
    assert caplog.records == []
    check(None, 1.3, 0.5)
    assert "the cut has 1 µm per pixel as the encoder sees it, the encoder has 1.3" in caplog.text
    with pytest.raises(InputError, match=r"--mpp 0.5: the cut has 1 µm .* the encoder has 2"):
        check(None, 2.0, 0.5)
    with pytest.raises(InputError, match=r"--mpp 1: the cut has 2 µm .* the index has 1"):
        check(index.folder, None, 1.0)
    check(index.folder, 0.2, 1.0, any_mpp=True)


def test_info_says_whether_the_scale_is_checked(index: OpenIndex) -> None:
    alone = {
        "um_per_network_px": [1.0],
        "field_um": [100.0],
        "encoder_um_per_px": None,
        "check": "scale unchecked: microns per pixel of the encoder are unknown",
    }
    assert describe_scale(index, None) == alone
    calibrated = describe_scale(index, Scale.of(0.5, 0.6, crop_px=100))
    assert calibrated == {
        **alone,
        "calibration_um_per_network_px": [0.5, 0.6],
        "calibration_check": "the index has 1 µm per pixel as the encoder sees it, "
        "the calibration has 0.5 to 0.6: a factor of 1.67",
    }
