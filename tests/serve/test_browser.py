"""A real browser: drop, paste, crop, examples and keys; nothing from elsewhere and no errors."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import is_long
from tests.serve.real import Served, running
from tests.serve.site import TOKEN, Site

BROWSER: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium"
)
# No sandbox: CI runs as root.
_FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_DROP: Final = """(bytes) => {
  const file = new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" });
  const data = new DataTransfer();
  data.items.add(file);
  const send = (kind) => dispatchEvent(
    new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  send("dragenter");
  const wasShown = document.body.classList.contains("dragging");
  send("drop");
  return wasShown;
}"""
_PASTE: Final = """(bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


# A time that no busy machine reaches.
PATIENCE_MS: Final = 300_000
AXE: Final = Path(axe_playwright_python.__file__).with_name("axe.min.js")
# Details of what is right, and style sheets read again, take most of the time.
AXE_OPTIONS: Final = "{resultTypes: ['violations'], preload: false}"

_HEIGHTS: Final = "all => all.map((one) => one.getBoundingClientRect().height)"
_SOURCES: Final = "all => all.map((one) => one.src)"
# The first figure of the mark page: how many pairs are marked.
_HAS_PAIRS: Final = (
    "(number) => document.querySelector('[data-standing] tbody td').textContent === number"
)


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    with running(site) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=BROWSER, args=list(_FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(chromium: Browser, served: Served) -> Iterator[Page]:
    """A page with a session; afterwards nothing was asked elsewhere and nothing went wrong."""
    with watched(chromium, served) as found:
        yield found


class watched:  # noqa: N801 - a context manager
    """Open a page, the first one if no other is named, and watch what it asks and says."""

    def __init__(
        self,
        chromium: Browser,
        served: Served,
        *,
        start: str = "",
        expected: str = "nothing",
        **options: Any,
    ) -> None:
        self._context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        self._served = served
        self._start = start
        self._expected = expected
        self._wrong: list[str] = []

    def __enter__(self) -> Page:
        self._context.set_default_timeout(PATIENCE_MS)
        page = self._context.new_page()
        page.on("request", self._check)
        page.on("console", lambda said: self._note(said.text))
        page.on("pageerror", lambda error: self._wrong.append(str(error)))
        page.goto(f"{self._served.url}/{self._start}?token={TOKEN}")
        page.wait_for_load_state("networkidle")
        return page

    def __exit__(self, *ended: object) -> None:
        self._context.close()
        assert self._wrong == []

    def _note(self, text: str) -> None:
        if self._expected not in text:
            self._wrong.append(text)

    def _check(self, request: Any) -> None:
        if not request.url.startswith((f"{self._served.url}/", "blob:")):
            self._wrong.append(request.url)


def bytes_of(site: Site) -> list[int]:
    return list(next(site.tiles.rglob("*.png")).read_bytes())


def hits(page: Page) -> int:
    return page.locator("ol.grid > li.card").count()


def test_a_tile_is_chosen_followed_refined_filtered_and_compared(page: Page) -> None:
    assert "token" not in page.url
    page.locator("ul.grid a").first.click()
    assert page.locator("h1").inner_text() == "Tiles like this one"
    first = page.url
    assert hits(page) == 24
    page.locator("ol.grid > li.card > a").nth(2).click()
    assert page.url != first
    page.wait_for_load_state()  # going back while a page comes fails
    page.go_back()
    assert page.url == first
    assert hits(page) == 24
    page.get_by_label("more like result 2", exact=True).click()
    page.get_by_label("less like result 5", exact=True).click()
    assert page.locator(".example.like").count() == 2
    assert page.locator(".example.unlike").count() == 1
    assert page.locator("h1").inner_text() == "Tiles like these examples"
    page.get_by_label("remove counter-example 1").click()
    assert page.locator(".example.unlike").count() == 0
    page.get_by_text("Filters and number of results").click()
    page.get_by_label("Column of filter 1").select_option("label")
    page.get_by_label("Value of filter 1").fill("fat")
    page.get_by_role("button", name="Apply").click()
    assert 4 <= hits(page) <= 6
    page.get_by_label("compare with result 1", exact=True).click()
    assert page.locator("h1").inner_text().split(":")[0] in ("Same", "Different", "Unsure")
    widths = page.locator(".sides img").evaluate_all("all => all.map((one) => one.width)")
    assert widths == [420, 420]


def test_an_image_is_dropped_and_a_part_of_a_pasted_one_searched_with(
    page: Page, site: Site
) -> None:
    data = bytes_of(site)
    assert page.evaluate(_DROP, data) is True
    page.locator(".cropper canvas").wait_for()
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/search?id=u*")
    assert hits(page) == 24
    whole = page.url
    assert page.locator(".example img").evaluate("image => image.naturalWidth") == 64
    page.wait_for_load_state()  # going back while a page comes fails
    page.go_back()
    page.evaluate(_PASTE, data)
    canvas = page.locator(".cropper canvas")
    canvas.wait_for()
    area = canvas.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 1, area["y"] + 1)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    page.mouse.up()
    assert page.get_by_role("button", name="Use the whole image").is_visible()
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/search?id=u*")
    assert page.url != whole
    assert page.locator(".example img").evaluate("image => image.naturalWidth") in (31, 32, 33)


def test_pairs_are_marked_by_keys_and_selected_tiles_labelled(
    chromium: Browser, own_site: Site
) -> None:
    with running(own_site) as served, watched(chromium, served, start="mark") as page:
        said = page.locator("[data-said]")
        pictures = page.locator("[data-marking] img")
        page.locator("[data-marking]").wait_for()
        for number, (key, words) in enumerate((("s", "same"), ("d", "different")), start=1):
            page.locator("[data-marking][aria-busy=false]").wait_for()
            before = pictures.evaluate_all(_SOURCES)
            page.keyboard.press(key)
            said.get_by_text(f"Stored: {words}.").wait_for()
            page.wait_for_function(_HAS_PAIRS, arg=str(number))
            assert pictures.evaluate_all(_SOURCES) != before
        page.get_by_role("button", name="undo").click()
        said.get_by_text("The last mark was taken back.").wait_for()
        page.wait_for_function(_HAS_PAIRS, arg="1")
        # The pair that was answered last is shown again.
        assert pictures.evaluate_all(_SOURCES) == before
        # A key that is held is one answer.
        page.evaluate(
            "document.body.dispatchEvent("
            "new KeyboardEvent('keydown', { key: 's', repeat: true, bubbles: true }))"
        )
        page.locator("[data-marking][aria-busy=false]").wait_for()
        page.keyboard.press("k")
        said.get_by_text("Stored: skipped.").wait_for()
        page.wait_for_function(_HAS_PAIRS, arg="1")
        assert page.locator("[data-calibrate]").is_disabled()
        page.goto(f"{served.url}/search")
        page.locator("ul.grid a").first.click()
        page.get_by_role("button", name="Select tiles to label").click()
        for rank in (1, 3):
            page.get_by_label(f"select result {rank}", exact=True).check()
        page.get_by_label("Label", exact=True).fill("<b>tumour")
        page.get_by_role("button", name="Save for the selected").click()
        page.get_by_text("2 tiles are labelled <b>tumour.").wait_for()
        page.reload()
        shown = page.locator("[data-tile]:not([hidden])")
        assert shown.all_inner_texts() == ["your label: <b>tumour"] * 2


def test_pages_can_be_read_and_reached(page: Page, served: Served) -> None:
    tile = page.locator("ul.grid a").first.get_attribute("href")
    for path in ("search", tile, "pair", "map", "mark", "quality"):
        page.goto(f"{served.url}/{path}")
        page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert page.evaluate(NAMELESS) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(UNREADABLE) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert all(height > 11 for height in page.locator(".chart text").evaluate_all(_HEIGHTS))
        page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{served.url}/pair")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"


def test_axe_finds_nothing_serious_on_any_page(
    chromium: Browser, served: Served, site: Site, request: pytest.FixtureRequest
) -> None:
    # axe is no part of our pages, whose policy lets no foreign script in: here alone it may be.
    with watched(chromium, served, expected="status of 422", bypass_csp=True) as page:
        tiles = page.locator("ul.grid a").evaluate_all("all => all.map((one) => one.href)")
        page.locator("input[type=file]").set_input_files(next(site.tiles.rglob("*.png")))
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**/search?id=u*")
        ids = [tile.rpartition("=")[2] for tile in tiles]
        paths = [
            page.url, f"search?id={ids[0]}&unlike={ids[1]}", f"pair?a={ids[0]}&b={ids[1]}",
            "search", "mark", "quality", "search?k=0", "map?box=-99,-99,99,99",
        ]  # fmt: skip
        if is_long(request.config):
            # Pages that hold less than one above.
            paths += [f"pair?a={ids[0]}", "pair"]
        for number, path in enumerate(paths):
            page.goto(path if path.startswith("http") else f"{served.url}/{path}")
            page.locator("details").evaluate_all("all => all.forEach((one) => one.open = true)")
            # The colours of all pages are of one style sheet: two pages have them all.
            for scheme in ("light", "dark") if number < 2 else ("light",):
                page.emulate_media(color_scheme=scheme)
                assert serious(page) == [], (path, scheme)
            page.emulate_media(color_scheme="light")


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """List what axe finds, each with its elements."""
    found = page.evaluate(f"{AXE.read_text(encoding='utf-8')}; axe.run({AXE_OPTIONS})")
    assert len(found["passes"]) > 10
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_a_page_that_waits_shows_that_its_session_has_ended(
    chromium: Browser, served: Served
) -> None:
    with watched(chromium, served, expected="status of 40") as page:
        waiting = '<p data-waiting></p><script type="module" src="static/wait.js"></script>'
        page.route("**/quality", lambda route: route.fulfill(
            content_type="text/html", body=f"<!doctype html><body>{waiting}"
        ), times=1)  # fmt: skip
        page.goto(f"{served.url}/quality")
        page.context.clear_cookies()
        page.get_by_role("heading", name="No access").wait_for()


def test_search_works_without_javascript(chromium: Browser, served: Served, site: Site) -> None:
    with watched(chromium, served, java_script_enabled=False) as page:
        page.locator("input[type=file]").set_input_files(next(site.tiles.rglob("*.png")))
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**/search?id=u*")
        assert hits(page) == 24


# Text below the contrast that WCAG 2.2 AA asks for.
UNREADABLE: Final = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const isClear = (colour) => /, 0\\)$/.test(colour) || colour === "transparent";
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!isClear(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(element);
    if (!hasText || element.closest("svg") || style.visibility === "hidden") continue;
    const [one, two] = [light(style.color), light(ground(element))].sort((a, b) => b - a);
    const isLarge = parseFloat(style.fontSize) >= 24;
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < (isLarge ? 3 : 4.5)) found.push(`${element.outerHTML.slice(0, 80)} ${ratio}`);
  }
  return found;
}"""
# Controls and pictures without a name, and headings out of order.
NAMELESS: Final = """() => {
  const found = [];
  for (const one of document.querySelectorAll("a, button, input, select, canvas, svg, img")) {
    if (one.type === "hidden" || one.ariaHidden === "true") continue;
    const named = one.ariaLabel || one.textContent.trim() || one.alt
      || one.labels?.[0]?.textContent.trim() || one.querySelector?.("img[alt]")?.alt;
    if (!named) found.push(one.outerHTML.slice(0, 100));
  }
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3")) {
    const own = Number(one.tagName[1]);
    if (own > level + 1) found.push(one.outerHTML);
    level = own;
  }
  if (document.querySelectorAll("main, h1").length !== 2) found.push("main and h1");
  return found;
}"""
