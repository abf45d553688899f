"""Draw the pictures of the pages into docs/assets; `make docs` runs this.

They are drawn from rendered tissue and not kept in the repository.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.draw_pages import draw_pages, draw_slide_page

ROOT: Final = Path(__file__).parent.parent
TILE: Final = "slide.tiff#x=512,y=256,mpp=0.5,size=256"


def run(folder: Path, *words: str) -> None:
    """Run a command of histo-index in a folder."""
    command = [sys.executable, "-m", "histo_index", *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Draw every picture."""
    assets = ROOT / "docs" / "assets"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "demo", "-o", "demo", "--tiles-per-category", "16")
        run(folder, "build", "demo/slides", "-o", "slides.hx", "--mpp", "0.5")
        run(folder, "heatmap", TILE, "--slide", "slide.tiff", "-i", "slides.hx", "-o", "map.png")
        (preview,) = (folder / "demo" / "previews").rglob("slide.tiff.png")
        shutil.copyfile(preview, assets / "preview.png")
        shutil.copyfile(folder / "map.png", assets / "heatmap.png")
        draw_pages(folder / "demo" / "demo.hx", assets)
        draw_slide_page(folder / "slides.hx", assets)


if __name__ == "__main__":
    main()
