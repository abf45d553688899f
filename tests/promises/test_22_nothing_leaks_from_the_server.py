"""No path of the machine, no traceback and no private field is in what the server answers."""

import logging
import re
import string
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest

from tests.indexer.fakes import flip
from tests.promises.conftest import Tell, Tries
from tests.serve.site import BEARER, ORIGIN, PATIENT, Client, Site, image_of, problem, serving

# Names that are paths somewhere.
PATH_SHAPED: Final = [
    "../tiles.hx/manifest.json", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    "/etc/passwd", "//etc/passwd", "....//etc/passwd", "..\\..\\windows", "%5c..%5c",
    "C:\\secret.png", "file:///etc/passwd", "~/secret", "~root", ".", "..", "...", "%00",
    "a%00.png", "tile.png", "slide.svs#x=0,y=0,mpp=0.5,size=256", "%c0%ae%c0%ae/", "%252e%252e",
    "tiles.hx", "manifest.json", "search/000001/vectors.npy", "embeddings", "encoder/config.json",
    "con", "nul", "aux.png", "tile.png:stream", "\\\\host\\share", "%ff", "proc/self/environ",
    "dev/stdin", "tile*", "tile?", "tile|id", "$(id)", "`id`", "{0}", "%s%n", "-1", "0", "1",
    "0" * 31, "0" * 33, "g" * 32, "0" * 32, "F" * 32, " " + "0" * 31,
]  # fmt: skip
# What a request is made of.
_PATHS: Final = (
    "/", "/search", "/pair", "/v1/search", "/v1/search.csv", "/v1/pair", "/v1/pairs",
    "/v1/classify", "/v1/tiles", "/v1/tiles/{}", "/v1/tiles/{}/image", "/v1/labels", "/metrics",
    "/map", "/v1/map", "/v1/map/{}", "/v1/map/points/{}", "/openapi.json", "/static/{}",
    "/docs", "/redoc", "/{}",
)  # fmt: skip
_NAMES: Final = (
    "id", "unlike", "a", "b", "k", "column", "operator", "value", "exclude_same", "copies",
    "limit", "seed", "size", "crop", "token2", "where", "box",
)  # fmt: skip
_VALUES: Final = (
    "", "0", "-1", "1e9", "nan", "patient", "PATIENT", "image_id", "path", "sha256", "stem", "eq",
    "contains", "empty", PATIENT, "label", "width", "' OR 1=1 --", "1) UNION SELECT patient",
    "read_csv('/etc/passwd')", "\u202e", "é", "9" * 400, "0,0,1,1", "drop", "2147483648",
)  # fmt: skip


def generate(random: Random, known: list[str]) -> tuple[str, str, dict[str, Any]]:
    """Make a request up: method, path, and what else httpx takes."""

    def text() -> str:
        letters = "".join(random.choices(string.printable, k=random.randint(1, 40)))
        return random.choice((*_VALUES, *known, random.choice(PATH_SHAPED), letters))

    path = random.choice(_PATHS).replace("{}", random.choice((*PATH_SHAPED, *known)))
    method = random.choice(("GET", "GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
    fields = [(random.choice(_NAMES), text()) for _ in range(random.randint(0, 6))]
    accept = random.choice(("application/json", "text/html", "*/*"))
    options: dict[str, Any] = {"params": fields, "headers": {**BEARER, "Accept": accept}}
    body = random.choice(("none", "json", "form", "raw"))
    if body == "json":
        options["json"] = random.choice(({"pairs": [[text(), text()]]}, [text()], text(), None))
    elif body == "form":
        options["files"] = {random.choice(("image", text() or "x")): (text(), text().encode())}
    elif body == "raw":
        options["content"] = random.randbytes(random.randint(0, 200))
    return method, path, options


def require_silent(answer: httpx.Response, site: Site) -> None:
    """Check that nothing of the machine or the patients is in an answer, but what was sent."""
    # httpx repeats what was asked in `location` only; a page repeats filters in its form.
    text = answer.text + str(answer.headers)
    for secret in (str(site.folder), str(site.folder.resolve()), site.folder.name, str(Path.cwd())):
        assert secret not in text
    assert "Traceback" not in text
    assert not re.search(r'File ".*", line \d+|\.py\b|histo_index[./]', text)
    assert f"{PATIENT}-" not in text
    assert 'name="patient"' not in text
    assert "Internal Server Error" not in text, answer.request.url


def test_path_shaped_names_are_not_found_all_in_the_same_words(
    client: Client, site: Site, tell: Tell
) -> None:
    answers = [client.get(f"/v1/tiles/{name}") for name in PATH_SHAPED]
    answers += [client.get(f"/v1/tiles/{name}/image") for name in PATH_SHAPED]
    listed = [  # `.` and `..` are other addresses, which httpx resolves
        answer for answer in answers if not str(answer.request.url).endswith(("/tiles/", "/v1/"))
    ]
    found = {(answer.status_code, answer.text) for answer in listed if answer.status_code != 200}
    assert found == {
        (
            404,
            '{"type":"about:blank","title":"Not Found","status":404,'
            '"detail":"there is no such tile or page"}',
        )
    }
    assert len(listed) >= 96
    for answer in answers:
        require_silent(answer, site)
    for name in PATH_SHAPED:
        answer = client.get("/v1/search", params={"id": name})
        assert (answer.status_code, problem(answer)["detail"]) == (
            404, "there is no such tile or page",
        )  # fmt: skip
    tell(f"{len(PATH_SHAPED)} path-shaped names at 3 addresses", "the same 404 for each")


def test_generated_requests_leak_nothing_and_break_nothing(
    client: Client, site: Site, tries: Tries, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    random, known = Random(0), client.ids(3)
    count = tries(500, 5_000)
    codes: dict[int, int] = {}
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="histo_index.serve"):
        for _ in range(count):
            method, path, options = generate(random, known)
            answer = client.ask(method, path, **options)
            require_silent(answer, site)
            codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
    assert set(codes) <= {200, 303, 304, 400, 404, 405, 410, 413, 422}
    assert codes[200] > count / 20
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert len(lines) == count
    shape = re.compile(r"[A-Z]+ (unknown|/[a-z0-9_{}/.]*) \d{3} \d+ ms")
    assert [line for line in lines if not shape.fullmatch(line)] == []
    tell(f"{count:,} generated requests", f"nothing leaked; {dict(sorted(codes.items()))}")


@pytest.mark.parametrize("name", ["patient", "PATIENT", "image_id", "path", "nothing", "stem"])
def test_a_private_column_is_for_nobody_as_if_it_were_not_there(client: Client, name: str) -> None:
    (tile,) = client.ids(1)
    filters = {"column": name, "operator": "contains", "value": PATIENT[0]}
    asked = [
        client.get("/v1/search", params={"id": tile, **filters}),
        client.get("/v1/tiles", params=filters),
        client.get("/v1/search", params={"id": tile, "exclude_same": name}),
        client.get("/v1/search.csv", params={"id": tile, **filters}),
        client.get("/search", params={"id": tile, **filters}, headers={"Accept": "*/*"}),
    ]
    maps = [
        client.get(path, params={"column": name})
        for path in ("/map", "/v1/map/colours", "/v1/map/legend")
    ]
    assert {(answer.status_code, problem(answer)["detail"]) for answer in maps} == {
        (
            422,
            "no such column; there are: width, height, label, group, mpp, remark, formula, novelty",
        )
    }
    assert {(answer.status_code, answer.text) for answer in asked} == {
        (
            422,
            '{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":'
            '"no such column; there are: width, height, label, group, mpp, remark, formula"}',
        )
    }


def test_private_values_are_nowhere(client: Client) -> None:
    (tile,) = client.ids(1)
    pages = ("/", f"/search?id={tile}&k=40", f"/pair?a={tile}&b={tile}", "/metrics")
    maps = ("/map", "/map?box=-99,-99,99,99&column=remark", "/v1/map", "/v1/map/legend")
    rest = (f"/v1/tiles/{tile}", f"/v1/search?id={tile}", f"/v1/search.csv?id={tile}")
    listed = ("/v1/tiles?limit=40", "/v1/map/tiles?box=-99,-99,99,99", "/openapi.json")
    for path in (*pages, *maps, *rest, *listed):
        found = client.get(path)
        assert found.status_code == 200
        assert PATIENT not in found.text
        assert "patient" not in found.text.replace("(patient or slide)", "")


def test_no_sql_goes_over_http(client: Client) -> None:
    (tile,) = client.ids(1)
    everything = client.json("/v1/search", params={"id": tile, "k": 50})["hits"]
    for text in ("1=1", "label = 'fat'", "repeat('x', 1000000000)", "read_text('/etc/passwd')"):
        asked = {"id": tile, "k": 50, "where": text}
        assert client.json("/v1/search", params=asked)["hits"] == everything
        filters = {"column": "label", "operator": "eq", "value": text}
        assert client.json("/v1/search", params={"id": tile, **filters})["hits"] == []
        column = client.get("/v1/search", params={"id": tile, **filters, "column": text})
        assert problem(column)["detail"].startswith("no such column; there are: ")


def test_an_index_damaged_while_it_is_served_is_503_in_one_line(own_site: Site) -> None:
    vectors = next(own_site.index.glob("search/*/vectors.npy"))
    manifest = own_site.index / "manifest.json"
    whole = manifest.read_bytes()
    with serving(own_site.config()) as client:
        (tile,) = client.ids(1)
        flip(vectors, 8 * 2000)
        answer = client.get("/v1/search", params={"id": tile})
        assert answer.status_code == 503
        assert re.fullmatch(
            r"tiles\.hx/search/000001/vectors\.npy: damaged at row 0: checksum [0-9a-f]{16}, "
            r"expected [0-9a-f]{16}; run `histo-index reindex` to rebuild the search files",
            problem(answer)["detail"],
        )
        require_silent(answer, own_site)
        manifest.write_bytes(whole[:-20])
        for path in ("/readyz", f"/v1/tiles/{tile}", "/v1/tiles"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert problem(answer)["detail"].startswith("tiles.hx/manifest.json: damaged")
            require_silent(answer, own_site)
        manifest.unlink()
        assert client.get("/readyz").status_code == 503


def test_the_name_of_an_uploaded_file_is_forgotten(
    client: Client, site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_bytes(b"no image")
    with caplog.at_level(logging.DEBUG):
        refused = client.post("/v1/search", files={"image": image_of(tmp_path / "x")})
        answered = client.post(
            "/v1/search", files={"image": image_of(next(site.tiles.rglob("*.png")))}
        )
    assert (refused.status_code, answered.status_code) == (422, 200)
    assert PATIENT not in refused.text + answered.text
    own = [record for record in caplog.records if record.name.startswith("histo_index.serve")]
    assert PATIENT not in "".join(record.getMessage() for record in own)


def test_a_mistake_of_ours_is_500_without_details(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(site.config()) as client:
        client.state.uploads.get = lambda given: 1 / 0  # type: ignore[method-assign, return-value, assignment]
        answer = client.get(f"/v1/tiles/u{'0' * 32}/image")
    assert answer.status_code == 500
    assert problem(answer)["detail"] == "the server made a mistake; its log says which"
    assert "ZeroDivisionError" in caplog.text
    assert "content-security-policy" in answer.headers
    assert ORIGIN not in answer.text
