"""No upload is too large, too slow or one too many for the server."""

import io
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from tests.promises.conftest import Tell, Tries
from tests.serve.real import Served, running
from tests.serve.site import (
    BEARER,
    PATIENT_LIMITS,
    TOKEN,
    Client,
    Site,
    image_of,
    problem,
    serving,
    small,
)

_HUGE = 200 * 2**20
_CHUNK = b"10000\r\n" + b"\0" * 65_536 + b"\r\n"
_KINDS = {
    "multipart": "Content-Type: multipart/form-data; boundary=x",
    "raw": "Content-Type: application/octet-stream",
    "JSON": "Content-Type: application/json",
}


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    limits = replace(PATIENT_LIMITS, header_s=1.0, body_s=1.5, receiving=32)
    with running(site, limits=limits) as found:
        yield found


def answer_of(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    found = b""
    try:
        while data := connection.recv(65_536):
            found += data
    except ConnectionResetError:  # closed with bytes of ours unread
        pass
    return found


@pytest.mark.parametrize("kind", _KINDS)
def test_200_mb_that_are_declared_are_refused_unread(served: Served, kind: str) -> None:
    with served.connect() as connection:
        head = served.head("POST", "/v1/search", _KINDS[kind], f"Content-Length: {_HUGE}")
        connection.sendall(head)
        assert answer_of(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", _KINDS)
def test_200_mb_that_are_not_declared_are_cut_off(served: Served, kind: str) -> None:
    sent = 0
    with served.connect() as connection:
        head = served.head("POST", "/v1/search", _KINDS[kind], "Transfer-Encoding: chunked")
        connection.sendall(head)
        try:
            if kind == "multipart":
                part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            while sent < _HUGE:
                connection.sendall(_CHUNK)
                sent += 65_536
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 80 * 2**20


def test_clients_without_the_token_cannot_send_without_end(served: Served) -> None:
    with served.connect() as connection:
        head = served.head("POST", "/v1/search", _KINDS["raw"], "Transfer-Encoding: chunked")
        connection.sendall(head.replace(TOKEN.encode(), b"guessed") + _CHUNK)
        assert answer_of(connection).startswith(b"HTTP/1.1 401 ")


def test_20_slow_clients_are_let_go_while_others_are_answered(served: Served, tell: Tell) -> None:
    half_head = served.head("GET", "/v1/tiles")[:-4]
    body = served.head("POST", "/v1/search", _KINDS["multipart"], "Content-Length: 1000") + b"--x"
    slow = [served.connect() for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall(half_head if number % 2 else body)
    with httpx.Client(base_url=served.url, headers=BEARER, timeout=60) as client:
        assert [client.get("/v1/tiles").status_code for _ in range(20)] == [200] * 20
    answers = [answer_of(connection)[:12] for connection in slow]
    for connection in slow:
        connection.close()
    assert answers == [b"HTTP/1.1 408", b""] * 10
    tell("20 slow clients", "all let go; 20 of 20 requests beside them answered")


def test_100_parallel_uploads_are_answered_or_sent_away_and_memory_stays_flat(
    site: Site, tell: Tell, tries: Tries
) -> None:
    picture = io.BytesIO()
    Image.effect_noise((800, 800), 80).save(picture, format="PNG")
    count = tries(100, 1_000)

    def upload(client: httpx.Client) -> httpx.Response:
        files = {"image": ("a.png", picture.getvalue(), "image/png")}
        return client.post("/v1/search", files=files, data={"k": "1"})

    limits = replace(PATIENT_LIMITS, waiting=8, receiving=16)
    with (
        running(site, limits=limits) as served,
        httpx.Client(base_url=served.url, headers=BEARER, timeout=600) as client,
        ThreadPoolExecutor(20) as crowd,
    ):
        assert upload(client).status_code == 200
        before = psutil.Process().memory_info().rss
        found = list(crowd.map(upload, [client] * count))
        grown = psutil.Process().memory_info().rss - before
        assert client.get("/v1/tiles").status_code == 200
    codes = [answer.status_code for answer in found]
    assert set(codes) <= {200, 503}
    assert codes.count(200) >= 8
    for answer in found:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "5"
    size = len(picture.getvalue())
    assert grown < 48 * 2**20 < count * size
    tell(
        f"{count} uploads of {size:,} bytes by 20 at once",
        f"{codes.count(200)} answered, {codes.count(503)} sent away, {grown / 2**20:.0f} MB more",
    )


@pytest.fixture(scope="module")
def limited(site: Site) -> Iterator[Client]:
    """A server with limits that are reached quickly."""
    with serving(site.config(limits=small(images=2, pairs=3))) as found:
        yield found


def test_pixels_are_limited_from_the_header(limited: Client, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert path.stat().st_size < 50_000
    answer = limited.post("/v1/search", files={"image": image_of(path)})
    assert answer.status_code == 422
    assert problem(answer)["detail"].startswith(
        "upload: too large: 20000×10000 pixels, the limit is 100,000"
    )


def test_what_is_no_image_is_refused(limited: Client, site: Site, tmp_path: Path) -> None:
    damaged = next(site.tiles.rglob("*.png")).read_bytes()[:500]
    for data, reason in ((b"<svg>", "upload: not an image"), (damaged, "upload: damaged")):
        (tmp_path / "x.png").write_bytes(data)
        answer = limited.post("/v1/search", files={"image": image_of(tmp_path / "x.png")})
        assert answer.status_code == 422
        assert problem(answer)["detail"].startswith(reason)


def test_numbers_are_limited(limited: Client, site: Site) -> None:
    path = next(site.tiles.rglob("*.png"))
    (tile,) = limited.ids(1)
    images = limited.post("/v1/search", files=[("image", image_of(path))] * 3)
    assert images.status_code == 400
    refused = [
        limited.get("/v1/search", params={"id": tile, "k": 501}),
        limited.get("/v1/search", params={"id": tile, "k": "000000001999999999"}),
        limited.get("/v1/search", params={"id": [f"{n:032x}" for n in range(17)]}),
        limited.get("/v1/search", params={"id": tile, "column": "x" * 501}),
        limited.post("/v1/pairs", json={"pairs": [[tile, tile]] * 4}),
        limited.get("/v1/tiles", params={"limit": 501}),
    ]
    assert [answer.status_code for answer in refused] == [422] * 6
    for answer in refused:
        problem(answer)


def test_no_upload_reaches_a_disk(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.effect_noise((1100, 1100), 80).save(path, compress_level=0)
    assert path.stat().st_size > 2**20

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a temporary file")

    # Where Python's own temporary files begin.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with serving(site.config()) as client:
        answer = client.post("/v1/search", files={"image": image_of(path)})
    assert answer.status_code == 200


def test_bodies_that_are_held_are_limited_together(site: Site) -> None:
    limits = replace(PATIENT_LIMITS, held_bytes=150_000)
    files = {"image": ("a.png", bytes(100_000), "image/png")}
    with serving(site.config(limits=limits)) as client:
        answers = client.together(*[("POST", "/v1/search", {"files": files})] * 4)
        codes = {answer.status_code for answer in answers}
        # Those that fit are read, and are no images.
        assert codes == {422, 503}
        assert client.post("/v1/search", files=files).status_code == 422


def test_a_full_queue_sends_away_with_a_time_to_come_back(site: Site) -> None:
    limits = replace(small(), waiting=1)
    with serving(site.config(limits=limits)) as client:
        (tile,) = client.ids(1)
        asked = ("GET", "/v1/search", {"params": {"id": tile, "k": 40}})
        answers = client.together(*[asked] * 30)
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503}
        refused = answers[codes.index(503)]
        assert refused.headers["retry-after"] == "5"
        assert problem(refused)["detail"] == "the server is busy; try again in 5 s"
        assert client.get("/v1/search", params={"id": tile}).status_code == 200
