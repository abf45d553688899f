"""Text of users stays text, and requests of other hosts and pages are refused."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final

import httpx
import pytest

from histo_index.serve.safety.sessions import Sessions
from tests.promises.conftest import Tell
from tests.serve.site import (
    BEARER,
    HOSTILE,
    ORIGIN,
    TOKEN,
    Client,
    Site,
    image_of,
    problem,
    serving,
)

_SAME: Final = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": ORIGIN}
_FORM: Final = {**_SAME, "Sec-Fetch-Mode": "navigate", "Origin": "null"}
FOREIGN_HOSTS: Final = (
    "evil.example.org", "evil.example.org:8000", "127.0.0.1", "127.0.0.1:9000", "localhost:8001",
    "127.0.0.1:8000.evil.example.org", "127.0.0.1:8000@evil.example.org", "0.0.0.0:8000",
    "[::]:8000",
    "127.1:8000", "2130706433:8000", "127.0.0.1:08000", "127.0.0.1:8000 ", "", "127.0.0.1:",
    "127.0.0.1.:8000", "localhost.:8000", "[::ffff:127.0.0.1]:8000", "x", "127.0.0.1:8000,x",
)  # fmt: skip
FOREIGN_ORIGINS: Final = (
    "http://127.0.0.1:9000", "http://localhost:8000", "https://127.0.0.1:8000", "http://127.0.0.1",
    "http://evil.example.org", "null", "", "http://127.0.0.1:8000.evil.example.org",
    "http://127.0.0.1:80000", "file://",
)  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


class Browser:
    """A browser with a session, as far as headers go."""

    def __init__(self, client: Client) -> None:
        entered = client.ask("GET", "/search", params={"token": TOKEN, "seed": "1"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/search?seed=1")
        self.set_cookie = entered.headers["set-cookie"]
        self.cookie = {"Cookie": self.set_cookie.partition(";")[0]}
        self._client = client

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._client.ask("GET", path, headers={**self.cookie, **headers})

    def write_token(self) -> str:
        found = re.search(r'name="write_token" value="([0-9a-f]{64})"', self.get("/search").text)
        assert found is not None
        return found[1]


@pytest.fixture
def browser(client: Client) -> Iterator[Browser]:
    # A new session: httpx must not add its cookie to requests of other tests.
    yield Browser(client)
    client.forget_cookies()


def test_hostile_text_stays_text_on_every_page(client: Client, site: Site, tell: Tell) -> None:
    (tile, other) = client.ids(2)
    pages = (
        "/", f"/search?id={tile}&k=40", f"/pair?a={tile}&b={other}",
        f"/search?id={tile}&unlike={other}&column=remark&operator=contains&value={HOSTILE}",
        f"/search?column=label&operator=eq&value={HOSTILE}", "/pair", "/mark", "/quality",
        "/map", "/map?column=remark&box=-99,-99,99,99",
    )  # fmt: skip
    with serving(site.config(shows_names=True)) as named:
        answers = [one.get(page) for one in (client, named) for page in pages]
    for answer in answers:
        assert answer.status_code == 200
        elements = Elements(answer.text)
        for tag, attributes in elements.found:
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            assert tag not in ("base", "iframe", "object", "embed", "style")
            if tag == "script":
                assert (attributes["src"] or "").startswith("static/")
            if tag == "img":
                assert (attributes["src"] or "").startswith(("v1/tiles/", "static/"))
        assert "javascript:" not in answer.text
    shown = Elements(answers[1].text)
    assert shown.text.count(f"{HOSTILE} ") == 40
    tell(f"{len(answers)} pages with hostile text", "no element, attribute or script of it")


def test_every_answer_has_the_headers_that_keep_pages_safe(client: Client, site: Site) -> None:
    (tile,) = client.ids(1)
    answers = [
        client.get("/"), client.get(f"/v1/tiles/{tile}"), client.get(f"/v1/tiles/{tile}/image"),
        client.get("/nothing"), client.ask("GET", "/"), client.get("/static/app.css"),
        client.ask("GET", "/healthz"), client.ask("GET", "/", headers={"Host": "evil"}),
        client.ask("GET", f"/?token={TOKEN}"), client.get("/v1/search?k=0"),
        client.post("/v1/search", headers={"Content-Length": "999999999"}),
        client.get(f"/v1/search.csv?id={tile}"),
    ]  # fmt: skip
    client.forget_cookies()
    for answer in answers:
        headers = answer.headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob:"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_host_is_refused_even_with_the_token(client: Client, host: str) -> None:
    for path in ("/", "/healthz", "/v1/tiles", f"/?token={TOKEN}"):
        answer = client.ask("GET", path, headers={**BEARER, "Host": host})
        assert answer.status_code == 421
        assert "set-cookie" not in answer.headers


def test_the_token_becomes_a_session_that_scripts_and_other_sites_do_not_see(
    browser: Browser,
) -> None:
    name, *attributes = browser.set_cookie.split("; ")
    assert name.startswith("histo-index-8000=")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=strict"]
    assert TOKEN not in browser.set_cookie
    page = browser.get("/search")
    assert page.status_code == 200
    assert TOKEN not in page.text


def test_behind_tls_the_cookie_demands_it(site: Site) -> None:
    config = site.config(
        origin="https://tiles.example.org", hosts=frozenset({"tiles.example.org"}), root_path="/h"
    )
    with serving(config) as client:
        entered = client.ask("GET", f"/h/?token={TOKEN}", headers={"Host": "tiles.example.org"})
    assert entered.headers["location"] == "/h/"
    attributes = entered.headers["set-cookie"].split("; ")[1:]
    assert sorted(attributes) == ["HttpOnly", "Path=/h", "SameSite=strict", "Secure"]


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "histo-index-8000=x"}, {"Cookie": f"histo-index-8000={TOKEN}"},
        {"Cookie": "histo-index-8000="},
    ],
)  # fmt: skip
def test_without_the_token_nothing_is_there(client: Client, headers: dict[str, str]) -> None:
    answers = [
        client.ask("GET", path, headers=headers)
        for path in ("/", "/nothing", "/v1/tiles", "/?token=x", "/?token=", "/static/app.css")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def test_a_session_ends_when_it_is_not_used() -> None:
    clock = [0.0]
    sessions = Sessions(b"key", now=lambda: clock[0])
    first, second = sessions.open(), sessions.open()
    assert first != second
    clock[0] = 11 * 3600.0
    assert sessions.is_open(first)
    clock[0] = 13 * 3600.0
    assert sessions.is_open(first)
    assert not sessions.is_open(second)
    assert sessions.write_token(first) != sessions.write_token(second)


def test_pages_of_other_ports_cannot_read_with_our_cookie(browser: Browser) -> None:
    for site in ("same-site", "cross-site"):
        for path in ("/v1/tiles", "/search"):
            fetched = browser.get(path, **{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})
            assert fetched.status_code == 403
            assert problem(fetched)["detail"].startswith("refused: the request does not come from")
    visit = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}
    assert browser.get("/search", **visit, **{"Sec-Fetch-Dest": "document"}).status_code == 200
    assert browser.get("/search", **visit, **{"Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert browser.get("/search", **{"Sec-Fetch-Site": "none"}).status_code == 200


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_pages_of_other_origins_cannot_write(
    client: Client, browser: Browser, site: Site, origin: str
) -> None:
    token = browser.write_token()
    files = {"image": image_of(next(site.tiles.rglob("*.png")))}
    own = {**browser.cookie, **_SAME, "Origin": origin}
    for path in ("/search", "/v1/search"):
        headers = {**own, "X-Histo-Index-Write": token}
        answer = client.ask("POST", path, headers=headers, files=files, data={"write_token": token})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": ""}, {"X-Histo-Index-Write": ""},
        {"X-Histo-Index-Write": "0" * 64}, {"X-Histo-Index-Write": TOKEN},
    ],
)  # fmt: skip
def test_a_write_needs_the_site_and_the_token_of_the_page(
    client: Client, browser: Browser, change: dict[str, str]
) -> None:
    (a, b) = client.ids(2)
    whole = {**browser.cookie, **_SAME, "X-Histo-Index-Write": browser.write_token()}
    asked = {"json": {"pairs": [[a, b]]}}
    assert client.ask("POST", "/v1/pairs", headers=whole, **asked).status_code == 200
    assert client.ask("POST", "/v1/pairs", headers={**whole, **change}, **asked).status_code == 403


def test_a_form_works_without_javascript_and_only_with_its_token(
    client: Client, browser: Browser, site: Site
) -> None:
    files = {"image": image_of(next(site.tiles.rglob("*.png")))}
    headers = {**browser.cookie, **_FORM}
    data = {"write_token": browser.write_token()}
    sent = client.ask("POST", "/search", headers=headers, files=files, data=data)
    assert sent.status_code == 303
    assert re.fullmatch(r"/search\?id=u[0-9a-f]{32}", sent.headers["location"])
    assert "Tiles like this one" in browser.get(sent.headers["location"]).text
    for wrong in ({}, {"write_token": ""}, {"write_token": Browser(client).write_token()}):
        refused = client.ask("POST", "/search", headers=headers, files=files, data=wrong)
        assert refused.status_code == 403
