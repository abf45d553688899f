"""Photograph the pages of the server for the documentation, in a browser without a window."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

_TOKEN: Final = "a-token-for-the-pictures-of-the-docs"
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_SIZE: Final = (1100, 760)
# Name of the picture: how the page is reached.
PAGES: Final = ("serve-search.png", "serve-mark.png")
SLIDE: Final = "serve-slide.png"


def draw_pages(index: Path, assets: Path) -> None:
    """Write a picture of the search page and of the mark page; empty ones without a browser."""
    _draw(index, assets, PAGES, _photograph)


def draw_slide_page(index: Path, assets: Path) -> None:
    """Write a picture of the page of a slide; an empty one without a browser."""
    _draw(index, assets, (SLIDE,), _photograph_slide)


def _draw(
    index: Path, assets: Path, names: Sequence[str], photograph: Callable[[str, str, Path], None]
) -> None:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print("no Chromium here, so the pictures of pages are empty", file=sys.stderr)
        for name in names:
            Image.new("RGB", _SIZE, "white").save(assets / name)
        return
    with _serving(index) as url:
        photograph(browser, url, assets)


def _photograph(browser: str, url: str, assets: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]})
        page.goto(f"{url}/search?column=label&operator=eq&value=muscle&token={_TOKEN}")
        page.locator("ul.grid a").first.click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=assets / PAGES[0])
        page.goto(f"{url}/mark")
        page.locator("[data-marking]").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=assets / PAGES[1])
        started.close()


def _photograph_slide(browser: str, url: str, assets: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": _SIZE[0], "height": 900})
        page.goto(f"{url}/slides?token={_TOKEN}")
        page.locator(".slide-list a").first.click()
        page.get_by_text("Table of its tiles").click()
        page.get_by_label("heatmap of the tile at 512, 256").click()
        page.locator("[data-canvas]").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=assets / SLIDE)
        started.close()


@contextmanager
def _serving(index: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    token = index.parent / "token"
    token.touch(0o600)
    token.write_text(_TOKEN)
    words = ["serve", "-i", str(index), "--port", str(port), "--token-file", str(token)]
    process = subprocess.Popen(
        [sys.executable, "-m", "histo_index", *words],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()  # the address: the index is open
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the server does not listen")
