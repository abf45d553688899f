"""What a person sees instead of a page: a heading in plain words, and what to do."""

import re

import pytest

from tests.serve.site import Client

_PAGE = {"headers": {"Accept": "text/html"}}


def read(page: str) -> tuple[str, str]:
    """Return the heading and the line below it."""
    (found,) = re.findall(r"<h1>(.*?)</h1><p>(.*?)</p>", page)
    return str(found[0]), str(found[1])


def test_whoever_has_no_session_reads_how_to_get_one(client: Client) -> None:
    client.forget_cookies()
    found = client.ask("GET", "/map", **_PAGE)
    heading, line = read(found.text)
    assert (found.status_code, heading) == (401, "No access")
    assert line.startswith("no session here, or it has ended: open the address that `histo-index")
    assert "stylesheet" not in found.text


@pytest.mark.parametrize(
    ("path", "heading", "line"),
    [
        ("/search?k=0", "This cannot be answered", "k: expected a whole number from 1 to 500"),
        ("/nothing", "Not Found", "there is no such tile or page"),
        (f"/search?id=u{'0' * 32}", "No longer here", "this upload"),
    ],
)
def test_a_refusal_is_headed_in_plain_words(
    client: Client, path: str, heading: str, line: str
) -> None:
    found = read(client.get(path, **_PAGE).text)
    assert (found[0], found[1][: len(line)]) == (heading, line)
