"""The map of a large index: CPU seconds of each part, and milliseconds of a frame in a browser.

Embeddings are drawn in clusters. Frames are drawn by `plot.js` in Chromium without a GPU; the
fastest one and the tenth percentile are printed, because other work delays the rest.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from clustered import Clusters
from playwright.sync_api import sync_playwright
from serve import serving

from histo_index.api.declared.from_embeddings import from_embeddings
from histo_index.indexer.format.manifest import MAP_NAME
from histo_index.indexer.reader import OpenIndex
from histo_index.progress import Progress, listening
from histo_index.search.maps.file import read_map, store_map
from histo_index.search.maps.make import MapConfig, complete, make_map

_DRAW: Final = """async () => {
  const { Plot } = await import("/static/plot.js");
  const [points, codes] = await Promise.all(
    ["v1/map/points", "v1/map/colours?column=label"].map(
      async (path) => (await fetch(path)).arrayBuffer()));
  const canvas = document.querySelector("canvas");
  const plot = new Plot(canvas, new Float32Array(points), new Uint8Array(codes), false);
  await new Promise((done) => setTimeout(done, 300));
  const found = {};
  for (const zoom of [1, 4, 16]) {
    plot.zoom = plot.whole * zoom;
    const times = Array.from({ length: 400 }, () => {
      const started = performance.now();
      plot.drawNow();
      return performance.now() - started;
    }).sort((one, two) => one - two);
    found[zoom] = [times[0], times[40]];
  }
  return found;
}"""
# No sandbox: containers run as root.
_FLAGS: Final = ("--no-sandbox", "--disable-gpu")
_NEW_SHARE: Final = 100


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=100_000, help="N")
    options.add_argument("--size", type=int, default=128, help="D")
    options.add_argument("--skip-layout", action="store_true", help="random places")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-maps-") as name:
        folder = Path(name)
        index = make_index(folder / "tiles.hx", rows=given.rows, size=given.size)
        measuring.print_machine()
        print(f"{given.rows:,} embeddings of {given.size}\n")
        measuring.print_table(("part", "CPU s"), time_parts(index, skip=given.skip_layout))
        print(f"\n{MAP_NAME}: {(index / MAP_NAME).stat().st_size / given.rows:.0f} bytes a tile\n")
        measuring.print_table(
            ("pixels a CSS pixel", "zoom", "fastest frame, ms", "tenth percentile"),
            time_frames(index, folder),
        )


def make_index(index: Path, *, rows: int, size: int) -> Path:
    """Make an index of drawn embeddings."""
    measuring.tell(f"making an index of {rows:,} embeddings")
    vectors = Clusters(count=60, size=size, spread=0.5).draw(rows, seed=1)
    names = [measuring.tile_name(row) for row in range(rows)]
    from_embeddings(names, vectors, index, {"label": [f"c{row % 9}" for row in range(rows)]})
    return index


def time_parts(index: Path, *, skip: bool) -> list[tuple[str, str]]:
    """Make the map, and place a hundredth of the tiles again; return the CPU seconds of each."""
    stages: dict[str, list[float]] = {}

    def note(state: Progress) -> None:
        stages.setdefault(state.stage, []).append(time.process_time())

    opened = OpenIndex(index)
    with listening(note):
        config = MapConfig(most=1_000) if skip else MapConfig()
        made = make_map(opened, config)
        store_map(index, made)
        is_kept = np.arange(len(made)) % _NEW_SHARE > 0
        complete(opened, made.select(is_kept | made.is_placed))
    started = time.process_time()
    read_map(index)
    reading = time.process_time() - started
    found = [(stage, f"{times[-1] - times[0]:.1f}") for stage, times in stages.items()]
    return [*found, ("reading", f"{reading:.2f}")]


def time_frames(index: Path, folder: Path) -> list[tuple[str, ...]]:
    """Draw the map in a browser; return a row for each density of pixels and zoom."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    rows: list[tuple[str, ...]] = []
    with serving(index, folder) as port, sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=list(_FLAGS))
        for ratio in (1, 2):
            size = {"width": 1280, "height": 900}
            page = started.new_page(viewport=size, device_scale_factor=ratio)  # type: ignore[arg-type]
            token = (folder / "token").read_text()
            page.goto(f"http://127.0.0.1:{port}/map?token={token}")
            page.wait_for_selector("[data-map][data-ready]", timeout=300_000)
            for zoom, (fastest, tenth) in page.evaluate(_DRAW).items():
                rows.append((str(ratio), zoom, f"{fastest:.1f}", f"{tenth:.1f}"))
        started.close()
    return rows


if __name__ == "__main__":
    main()
