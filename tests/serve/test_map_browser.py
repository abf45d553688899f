"""The map in a real browser: drawn, moved by mouse and keys, and tiles selected on it."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page

from tests.serve.real import Served, running
from tests.serve.site import TILES, Site
from tests.serve.test_browser import chromium, pytestmark, served, watched

__all__ = ["chromium", "pytestmark", "served"]

# How many pixels of the picture have each colour of the legend, and how many have any other.
_COLOURS: Final = """() => {
  const canvas = document.querySelector("[data-map] canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const dots = [...document.querySelectorAll(".legend .dot")];
  const counts = dots.map(() => 0);
  const colours = dots.map((dot) => getComputedStyle(dot).backgroundColor);
  let others = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (!data[at + 3]) continue;
    const found = colours.indexOf(`rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`);
    if (found < 0) others++;
    else counts[found]++;
  }
  return [...counts, others];
}"""
# Where on the page a pixel of a colour of the legend is.
_FIND: Final = """(number) => {
  const canvas = document.querySelector("[data-map] canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const dot = document.querySelectorAll(".legend .dot")[number];
  const colour = getComputedStyle(dot).backgroundColor;
  const edge = canvas.getBoundingClientRect();
  for (let at = 0; at < data.length; at += 4) {
    if (colour !== `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`) continue;
    const [x, y] = [(at / 4) % canvas.width, Math.floor(at / 4 / canvas.width)];
    const scale = edge.width / canvas.width;
    return [edge.left + x * scale, edge.top + y * scale];
  }
  return null;
}"""
_HAS_PICTURE: Final = "() => document.querySelector('[data-card] img').naturalWidth === 64"
_HAS_TILE: Final = "() => document.querySelector('[data-card] a').search.startsWith('?id=')"
_READY: Final = "[data-map][data-ready]"
# Drawing waits for the next frame of the browser.
_DRAWN: Final = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
)


@pytest.fixture
def map_page(chromium: Browser, served: Served) -> Iterator[Page]:
    with watched(chromium, served, start="map") as page:
        settle(page)
        yield page


def settle(page: Page) -> None:
    """Wait until the map is drawn."""
    page.wait_for_selector(_READY)
    page.evaluate(_DRAWN)


def colours(page: Page) -> list[int]:
    page.evaluate(_DRAWN)
    found: list[int] = page.evaluate(_COLOURS)
    return found


def joined(counts: list[int]) -> str:
    return ",".join(map(str, counts))


def canvas_box(page: Page) -> dict[str, Any]:
    found = page.locator("[data-map] canvas").bounding_box()
    assert found is not None
    return dict(found)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of the canvas to another, in shares of it."""
    area = canvas_box(page)
    x, y = ([area["x"] + share[0] * area["width"] for share in (start, end)],
            [area["y"] + share[1] * area["height"] for share in (start, end)])  # fmt: skip
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    page.mouse.move(x[1], y[1], steps=4)
    page.mouse.up()


def test_every_kind_is_drawn_in_the_colour_of_the_legend(map_page: Page) -> None:
    *kinds, others = colours(map_page)
    assert len(kinds) == 8
    # Six discs of 61 pixels a kind, which may lie over each other.
    assert min(kinds) >= 61
    assert max(kinds) <= 6 * 69
    assert others < 200  # a ring
    map_page.emulate_media(color_scheme="dark")
    assert min(colours(map_page)[:8]) >= 61


def test_the_tile_under_the_pointer_is_shown_and_a_click_searches_from_it(map_page: Page) -> None:
    for number in (0, 5):
        label = map_page.locator(".legend li span:nth-child(2)").nth(number).inner_text()
        map_page.mouse.move(*map_page.evaluate(_FIND, number))
        map_page.locator("[data-card]").get_by_text(label, exact=True).first.wait_for()
        picture = map_page.locator("[data-card] img")
        assert (picture.get_attribute("alt") or "").startswith(f"tile, {label}")
        map_page.wait_for_function(_HAS_PICTURE)
    tile = map_page.locator("[data-card] a").get_attribute("href")
    map_page.mouse.click(*map_page.evaluate(_FIND, 5))
    map_page.wait_for_url(f"**/{tile}")
    assert map_page.locator("h1").inner_text() == "Tiles like this one"


def test_a_box_selects_the_tiles_in_it_and_going_back_undoes_it(map_page: Page) -> None:
    first = map_page.url
    map_page.keyboard.down("Shift")
    drag(map_page, (0.005, 0.005), (0.5, 0.995))
    map_page.keyboard.up("Shift")
    map_page.wait_for_url("**/map?*box=*")
    map_page.wait_for_selector(_READY)
    cards = map_page.locator("#selected .card").count()
    assert 0 < cards < TILES
    assert map_page.locator("#chosen").inner_text() == f"{cards} tiles selected"
    map_page.wait_for_load_state()  # going back while a page comes fails
    map_page.go_back()
    map_page.wait_for_selector(_READY)
    assert map_page.url == first
    map_page.get_by_role("button", name="Select what is in view").click()
    map_page.wait_for_url("**/map?*box=*")
    assert map_page.locator("#selected .card").count() == TILES


def test_selected_tiles_are_labelled(chromium: Browser, own_site: Site) -> None:
    with running(own_site) as own, watched(chromium, own, start="map") as page:
        settle(page)
        page.get_by_role("button", name="Draw a box").click()
        drag(page, (0.005, 0.005), (0.995, 0.995))
        page.wait_for_url("**/map?*box=*")
        page.get_by_role("button", name="Select tiles to label").click()
        page.get_by_role("button", name="Select all").click()
        page.get_by_label("Label", exact=True).fill("seen")
        page.get_by_role("button", name="Save for the selected").click()
        page.get_by_text(f"{TILES} tiles are labelled seen.").wait_for()
        page.reload()
        assert page.locator("[data-tile]:not([hidden])").count() == TILES


def test_keys_move_zoom_show_a_tile_and_search_from_it(map_page: Page) -> None:
    canvas = map_page.locator("[data-map] canvas")
    canvas.focus()
    whole = colours(map_page)
    map_page.keyboard.press("+")
    map_page.keyboard.press("+")
    assert colours(map_page)[:8] != whole[:8]
    map_page.keyboard.press("ArrowLeft")
    map_page.locator("[data-card]").wait_for()
    map_page.keyboard.press("0")
    assert colours(map_page)[:8] == whole[:8]
    map_page.wait_for_function(_HAS_TILE)
    map_page.keyboard.press("Enter")
    map_page.wait_for_url("**/search?id=*")


def test_one_value_stands_out_and_the_wheel_zooms(map_page: Page) -> None:
    map_page.locator("[data-code='2']").click()
    kinds = colours(map_page)
    assert kinds[2] >= 61
    assert [count for at, count in enumerate(kinds[:8]) if at != 2] == [0] * 7
    assert map_page.locator("[data-code='2']").get_attribute("aria-pressed") == "true"
    map_page.locator("[data-code='2']").click()
    before = colours(map_page)
    area = canvas_box(map_page)
    map_page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    map_page.mouse.wheel(0, -400)
    map_page.wait_for_function(f"(before) => String(({_COLOURS})()) !== before", arg=joined(before))


def test_a_column_of_numbers_has_a_scale_and_keeps_the_view(map_page: Page, served: Served) -> None:
    map_page.get_by_label("Colour by").select_option("novelty")
    map_page.get_by_role("button", name="Show", exact=True).click()
    map_page.wait_for_url("**/map?column=novelty&view=*")
    map_page.wait_for_selector(_READY)
    assert map_page.locator("svg.scale").get_attribute("aria-label")
    assert sum(colours(map_page)) > 8 * 61


def test_without_javascript_there_is_the_table(chromium: Browser, served: Served) -> None:
    with watched(chromium, served, start="map", java_script_enabled=False) as page:
        assert page.locator("[data-map]").is_hidden()
        tiles = page.locator("tbody td.n").first.inner_text()
        page.get_by_label("show the tiles of area").first.click()
        assert page.locator("#chosen").inner_text() == f"{tiles} tiles selected"
        assert page.locator("#selected .card").count() == int(tiles)
