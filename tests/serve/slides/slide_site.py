"""An index of two slides whose names are those of a patient."""

from pathlib import Path
from typing import Final

from histo_index.api.build import build
from histo_index.encoder.create import init_encoder
from histo_index.slides.tiling.options import SlideSource, TileOptions
from tests.serve.site import PATIENT, Site
from tests.slide_files import draw_plane, write_slide

SLIDES: Final = (f"{PATIENT}-1.svs", f"{PATIENT}-2.svs")
TILE_PX: Final = 128


def make_slide_site(folder: Path) -> Site:
    """Build an index of 24 tiles of each of two slides."""
    made = Site(folder=folder)
    for seed, name in enumerate(SLIDES):
        write_slide(made.tiles / name, draw_plane(seed=seed))
    rows = [f"{name},{PATIENT},case {number}" for number, name in enumerate(SLIDES)]
    (folder / "cases.csv").write_text("\n".join(["path,patient,case", *rows]))
    init_encoder(folder / "encoder", arch="resnet18", seed=0)
    build(
        made.tiles, made.index, encoder=folder / "encoder", manifest=folder / "cases.csv",
        private="patient", slides=SlideSource(options=TileOptions(mpp=0.5, tile_size=TILE_PX)),
    )  # fmt: skip
    return made
