import math
from pathlib import Path

import pytest

from histo_index.errors import ImageError, InputError
from histo_index.slides.reading.info import Bounds, Scale, SlideInfo, SlideLevel
from histo_index.slides.tiling.grid import coarseness, lay_grid
from histo_index.slides.tiling.options import TileOptions


def info(*, mpp: float = 0.25, bounds: Bounds | None = None, downsample: float = 4.0) -> SlideInfo:
    return SlideInfo(
        path="a.svs",
        reader="reader 1",
        vendor="test",
        levels=(
            SlideLevel(width=10_000, height=8_000, downsample=1.0),
            SlideLevel(width=2_500, height=2_000, downsample=downsample),
        ),
        scale=Scale(x=mpp, y=mpp, origin="the file"),
        bounds=bounds or Bounds(x=0, y=0, width=10_000, height=8_000),
        associated=(),
        problems=(),
    )


def test_tiles_lie_side_by_side_inside_the_bounds() -> None:
    bounds = Bounds(x=1000, y=2000, width=2100, height=1100)
    grid = lay_grid(info(bounds=bounds), TileOptions(mpp=0.5))
    assert (grid.width, grid.height) == (512, 512)
    assert grid.x.tolist() == [1000, 1512, 2024, 2536] * 2
    assert grid.y.tolist() == [2000] * 4 + [2512] * 4


def test_overlap_and_odd_scales_move_tiles_by_whole_pixels_of_the_level() -> None:
    grid = lay_grid(info(mpp=0.2477), TileOptions(mpp=1.0, overlap=0.25))
    step = 256 / 0.2477 * 0.75
    first_row = grid.x[grid.y == 0]
    assert first_row.tolist() == [4 * math.floor(n * step / 4 + 0.5) for n in range(len(first_row))]
    assert first_row[-1] + grid.width <= 10_000 + 2 < first_row[-1] + step + grid.width + 4


def test_a_slide_that_is_coarser_than_asked_is_mentioned_then_refused() -> None:
    assert coarseness(info(mpp=0.52), TileOptions(mpp=0.5)) == []
    assert coarseness(info(mpp=0.6), TileOptions(mpp=0.5)) == [
        "0.6 µm/px is coarser than 0.5: its tiles are enlarged"
    ]
    with pytest.raises(
        ImageError, match=r"a.svs: too coarse: 0.8 µm/px, asked for 0.5; pass --mpp"
    ):
        lay_grid(info(mpp=0.8), TileOptions(mpp=0.5))


def test_a_tile_larger_than_the_slide_is_refused() -> None:
    small = info(bounds=Bounds(x=0, y=0, width=500, height=500))
    with pytest.raises(ImageError, match=r"a.svs: too small: 500×500 pixels, a tile needs 512×512"):
        lay_grid(small, TileOptions(mpp=0.5))
    with pytest.raises(ImageError, match="too many tiles"):
        lay_grid(info(), TileOptions(mpp=0.25, tile_size=16, overlap=0.95))


@pytest.mark.parametrize(
    "options",
    [
        {"mpp": 0.0}, {"mpp": math.nan}, {"mpp": math.inf}, {"mpp": -1.0},
        {"mpp": 0.5, "overlap": 1.0}, {"mpp": 0.5, "overlap": math.nan},
        {"mpp": 0.5, "tile_size": 0}, {"mpp": 0.5, "min_tissue": 1.5},
        {"mpp": 0.5, "tissue": "hue"},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        TileOptions(**options)  # type: ignore[arg-type]


def test_a_slide_without_scale_is_refused(tmp_path: Path) -> None:
    unknown = SlideInfo(**{**vars(info()), "scale": None})
    with pytest.raises(ImageError, match=r"a.svs: no scale; pass --slide-mpp"):
        lay_grid(unknown, TileOptions(mpp=0.5))
