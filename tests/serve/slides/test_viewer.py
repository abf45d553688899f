"""A real browser moves over a slide, chooses a tile of it and looks at a heatmap."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serve import test_browser
from tests.serve.real import Served, running
from tests.serve.site import Site
from tests.serve.test_browser import BROWSER, NAMELESS, PATIENCE_MS, UNREADABLE, serious, watched
from tests.slide_files import draw_plane

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium"
)
expect.set_options(timeout=PATIENCE_MS)
chromium = test_browser.chromium  # a fixture
_CANVAS: Final = "[data-canvas]"
# The pixels of a square around the middle of the canvas, [side, side, 3] in a row. They are read
# from a copy: Chromium advises against reading one canvas often.
_MIDDLE: Final = """(canvas, side) => {
  const [left, top] = [canvas.width, canvas.height].map((size) => Math.round((size - side) / 2));
  const pen = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, left, top, side, side, 0, 0, side, side);
  return [...pen.getImageData(0, 0, side, side).data].filter((value, at) => at % 4 !== 3);
}"""
# Whether the address has a scale, or nearly so.
_HAS_SCALE: Final = """(scale) =>
  Math.abs(Number(location.hash.split(",")[2]) / scale - 1) < 0.1"""
SIDE: Final = 64


@pytest.fixture(scope="module")
def served(slide_site: Site) -> Iterator[Served]:
    with running(slide_site) as found:
        yield found


@pytest.fixture(scope="module")
def slide(served: Served, slide_site: Site) -> str:
    """The id of the first slide: ids follow from the token, which is that of all tests."""
    from histo_index.serve.state.state import State

    state = State(slide_site.config())
    found = next(iter(state.current.get().slides))
    state.close()
    return found


def middle(page: Page, side: int = SIDE) -> Any:
    values = page.locator(_CANVAS).evaluate(_MIDDLE, side)
    return np.array(values, float).reshape(side, side, 3)


def settle(page: Page) -> None:
    """Wait until all squares that are seen were fetched and drawn."""
    page.locator(f"{_CANVAS}[aria-busy=false]").wait_for()


def open_at(page: Page, served: Served, slide: str, place: str, query: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{served.url}/slide?slide={slide}{query}#at={place}")
    settle(page)


def target(page: Page, words: str) -> str:
    """Return where a link leads."""
    return page.get_by_role("link", name=words, exact=True).get_attribute("href") or ""


def move(page: Page, act: Callable[[], None]) -> tuple[float, ...]:
    """Do something that moves the slide; return the middle and the scale that follow."""
    before = page.evaluate("location.hash")
    act()
    page.wait_for_function("(old) => location.hash !== old", arg=before)
    return tuple(float(one) for one in page.evaluate("location.hash")[4:].split(","))


def drag(page: Page, start: tuple[float, float]) -> None:
    """Drag by 100 pixels to the right and 40 down."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + 100, start[1] + 40)
    page.mouse.up()


def spread_fingers(page: Page, x: float, y: float) -> None:
    """Put two fingers around a point of the window and spread them to twice their distance."""
    touch = page.context.new_cdp_session(page)
    for kind, far in [("Start", 50), *(("Move", far) for far in range(60, 101, 10)), ("End", 0)]:
        fingers = [{"x": x + side * far, "y": y, "id": side} for side in (-1, 1)] if far else []
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": fingers})


def test_a_slide_is_shown_zoomed_and_moved(
    chromium: Browser,
    served: Served,
    slide: str,
) -> None:
    with watched(chromium, served, start="pair", has_touch=True) as page:
        page.get_by_role("link", name="Slides").click()
        page.locator(".slide-list a").first.click()
        settle(page)
        whole = middle(page)
        page.get_by_role("button", name="zoom in").click()
        settle(page)
        assert np.abs(middle(page) - whole).mean() > 5
        # One pixel of the slide for each of the screen, without the grid: what was drawn there.
        open_at(page, served, slide, "640,640,1")
        page.get_by_label("tiles", exact=True).uncheck()
        settle(page)
        expected = draw_plane()[640 - 32 : 640 + 32, 640 - 32 : 640 + 32]
        assert np.abs(middle(page) - expected).mean() < 6
        page.get_by_label("tiles", exact=True).check()
        settle(page)
        # Tiles of 128 pixels meet at 640, 640.
        column = middle(page)[4:20, SIDE // 2].mean(axis=0)
        assert np.abs(column - (40, 60, 200)).max() < 30
        page.locator(_CANVAS).focus()
        x, y, _ = move(page, lambda: page.keyboard.press("ArrowRight"))
        assert (x > 640, y) == (True, 640)
        assert move(page, lambda: page.keyboard.press("ArrowDown"))[1] > 640
        scale = move(page, lambda: page.keyboard.press("-"))[2]
        assert scale == pytest.approx(1 / 1.5, rel=1e-3)
        area = page.locator(_CANVAS).bounding_box()
        assert area is not None
        page.mouse.move(area["x"] + 50, area["y"] + 50)
        x, y, scale = move(page, lambda: page.mouse.wheel(0, -400))
        assert scale > 1
        moved = move(page, lambda: drag(page, (area["x"] + 50, area["y"] + 50)))
        assert moved[:2] == pytest.approx((x - 100 / scale, y - 40 / scale), abs=2)
        spread_fingers(page, area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
        page.wait_for_function(_HAS_SCALE, arg=2 * scale)
        assert page.locator("[data-chosen]").is_hidden()


def test_a_tile_is_chosen_and_the_slide_coloured_by_its_likeness(
    chromium: Browser,
    served: Served,
    slide: str,
) -> None:
    with watched(chromium, served, start="pair") as page:
        open_at(page, served, slide, "448,448,1")
        page.locator(_CANVAS).click()
        chosen = page.locator("[data-chosen]")
        expect(chosen).to_contain_text("Tile at 384, 384")
        search, pair = (target(page, words) for words in ("search from it", "compare it"))
        assert (search.partition("=")[0], pair) == (
            "search?id",
            search.replace("search?id", "pair?a"),
        )
        plain = middle(page)
        page.get_by_text("heatmap of it").click()
        page.wait_for_url("**/slide?*&id=*")
        settle(page)
        # The most like tile is itself: yellow over grey.
        grey = plain @ np.array([0.3, 0.59, 0.11])
        expected = 0.45 * grey[:, :, None] + 0.55 * np.array([253, 231, 37])
        assert np.abs(middle(page) - expected).mean() < 6
        page.get_by_label("opacity of the heatmap").fill("0")
        settle(page)
        assert np.abs(middle(page) - plain).mean() < 1
        page.locator(_CANVAS).focus()
        page.keyboard.press("Enter")
        expect(chosen).to_contain_text("similarity 1.000")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(chosen).not_to_contain_text("384, 384")
        page.get_by_text("− unlike").click()
        page.wait_for_url("**&unlike=*")
        expect(page.locator(".heat-legend figcaption")).to_contain_text("similarity difference")
        page.get_by_label("remove counter-example 1").click()
        expect(page.locator(".heat-legend figcaption")).to_contain_text("similarity: the cosine")
        page.get_by_text("The tiles of all slides like this one").click()
        page.get_by_text("show on a slide").click()
        assert "&id=" in (page.locator(".slide-list a").first.get_attribute("href") or "")


def test_pages_of_slides_can_be_read_and_reached(
    chromium: Browser,
    served: Served,
    slide: str,
) -> None:
    # axe is no part of our pages, whose policy lets no foreign script in.
    with watched(chromium, served, bypass_csp=True) as page:
        tile = page.locator("ul.grid a").first.get_attribute("href").partition("id=")[2]  # type: ignore[union-attr]
        for path in ("slides", f"slide?slide={slide}", f"slide?slide={slide}&id={tile}"):
            page.goto(f"{served.url}/{path}")
            page.wait_for_load_state("networkidle")
            page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
            if "slide?" in path:
                page.locator(_CANVAS).click()
            assert page.evaluate(NAMELESS) == []
            assert serious(page) == []
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(UNREADABLE) == []
            page.set_viewport_size({"width": 390, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.set_viewport_size({"width": 1280, "height": 900})


def test_a_slide_can_be_looked_at_without_javascript(
    chromium: Browser,
    served: Served,
    slide: str,
) -> None:
    with watched(chromium, served, start="pair", java_script_enabled=False) as page:
        with page.expect_response("**/overview?size=1280*") as picture:
            page.goto(f"{served.url}/slide?slide={slide}")
        assert picture.value.status == 200
        assert page.locator("img.drawn").count() == 1
        page.get_by_text("Table of its tiles").click()
        assert page.locator("tbody tr").count() == 24
        page.get_by_label("heatmap of the tile at 384, 384").click()
        cells = page.locator("tbody tr").first.locator("td").all_text_contents()
        assert cells[1:4] == ["384", "384", "1.000"]
        assert "id=" in (page.locator("img.drawn").get_attribute("src") or "")
