"""The server, compared with the same work in this process and with a bare FastAPI route.

One client on loopback asks in turn: the route, the work in process, the server. Searches and pairs
ask an index of drawn embeddings; unseen images and thumbnails the index of the demo.
"""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import numpy.typing as npt
from clustered import Clusters
from PIL import Image

from histo_index.api.declared.from_embeddings import from_embeddings
from histo_index.api.index import Index
from histo_index.demo.tiles import CATEGORIES, render_tile
from histo_index.search.inputs.resolve import Located

_TOKEN: Final = "a-token-of-this-benchmark-only"
_HEADERS: Final = {"Authorization": f"Bearer {_TOKEN}"}
_BARE: Final = """
import sys
import uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def read():
    return {"status": "ok"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""
_NONE: Final[Mapping[str, str]] = {}
_CLIENTS: Final = 8

Ask = Callable[[int], object]


class Client:
    """A connection to a server of this machine that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> bytes:
        """Ask for a path."""
        return self._send("GET", path)

    def post(self, path: str, image: bytes) -> bytes:
        """Send an image."""
        head = 'Content-Disposition: form-data; name="image"; filename="a"'
        body = f"--x\r\n{head}\r\n\r\n".encode() + image + b"\r\n--x--\r\n"
        return self._send("POST", path, body, {"Content-Type": "multipart/form-data; boundary=x"})

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = _NONE
    ) -> bytes:
        try:
            self._connection.request(method, path, body, {**_HEADERS, **headers})
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError):  # it was idle for too long
            self._connection.close()
            return self._send(method, path, body, headers)
        data = answer.read()
        assert answer.status == 200, data
        return data


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--rows", type=int, default=100_000, help="N")
    options.add_argument("--size", type=int, default=1024, help="D")
    options.add_argument("--repeats", type=int, default=200, help="requests of each kind")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="histo-index-serve-") as name, ExitStack() as stack:
        folder = Path(name)
        large = make_large(folder / "large.hx", rows=given.rows, size=given.size)
        small = make_small(folder / "small")
        ports = [stack.enter_context(serving(index, folder)) for index in (large, small)]
        bare = stack.enter_context(running([sys.executable, "-c", _BARE]))
        measuring.print_machine()
        print(f"{given.rows:,} embeddings of {given.size}; {given.repeats} requests of each kind\n")
        jobs = large_jobs(large, ports[0]) | small_jobs(small, ports[1])
        report(Client(bare), jobs, repeats=given.repeats)


def make_large(index: Path, *, rows: int, size: int) -> Path:
    """Make an index of drawn embeddings."""
    measuring.tell(f"making an index of {rows:,} embeddings")
    vectors = Clusters(count=1000, size=size, spread=0.35).draw(rows, seed=1)
    names = [measuring.tile_name(row) for row in range(rows)]
    from_embeddings(names, vectors, index, {"label": [f"c{row % 9}" for row in range(rows)]})
    return index


def make_small(folder: Path) -> Path:
    """Build an index of rendered tiles with the bundled encoder."""
    command = [sys.executable, "-m", "histo_index", "demo", "-o", str(folder)]
    subprocess.run([*command, "--tiles-per-category", "16"], check=True, stdout=subprocess.DEVNULL)
    return folder / "demo.hx"


@contextmanager
def serving(index: Path, folder: Path) -> Iterator[int]:
    """Serve an index on a free port."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(_TOKEN)
    command = [sys.executable, "-m", "histo_index", "serve", "-i", str(index)]
    with running([*command, "--token-file", str(token), "--port"]) as port:
        yield port


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    """Run a server, whose last argument is a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(port)


def large_jobs(index: Path, port: int) -> dict[str, tuple[Ask | None, Callable[[], Ask]]]:
    """Return the work in process, and what makes a client that asks for it, by name."""
    opened = Index(index)
    tiles = json.loads(Client(port).get("/v1/tiles?limit=100"))["tiles"]
    ids = [tile["id"] for tile in tiles]
    rows = np.random.default_rng(0).choice(len(opened), 100, replace=False)
    images = [
        Located(
            name=str(row), vector=opened.opened.vectors(np.array([row]))[0],
            image_id=measuring.tile_name(int(row)), row=int(row),
        )
        for row in rows
    ]  # fmt: skip

    def ask_search() -> Ask:
        client = Client(port)
        return lambda number: client.get(f"/v1/search?id={ids[number % 100]}&k=10")

    def ask_pair() -> Ask:
        client = Client(port)
        return lambda number: client.get(
            f"/v1/pair?a={ids[number % 100]}&b={ids[(number + 1) % 100]}"
        )

    return {
        "indexed search, k = 10": (
            lambda number: opened.search([images[number % 100]], k=10), ask_search,
        ),
        "pair": (
            lambda number: opened.pair(images[number % 100], images[(number + 1) % 100]), ask_pair,
        ),
    }  # fmt: skip


def small_jobs(index: Path, port: int) -> dict[str, tuple[Ask | None, Callable[[], Ask]]]:
    """Return the jobs that need images."""
    opened = Index(index)
    pixels = [render_tile(CATEGORIES[seed % 8], seed=9_000 + seed) for seed in range(40)]
    data = [png(image) for image in pixels]
    ids = [tile["id"] for tile in json.loads(Client(port).get("/v1/tiles?limit=100"))["tiles"]]

    def ask_unseen() -> Ask:
        client = Client(port)
        return lambda number: client.post("/v1/search", data[number % len(data)])

    def ask_thumbnail() -> Ask:
        client = Client(port)
        return lambda number: client.get(f"/v1/tiles/{ids[number % 100]}/image?size=160")

    def search_file(number: int) -> object:
        with Image.open(io.BytesIO(data[number % len(data)])) as image:
            return opened.search(np.asarray(image), k=24)

    return {
        "unseen image": (search_file, ask_unseen),
        "thumbnail": (None, ask_thumbnail),
    }


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Write an image as a PNG file."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()


def report(
    bare: Client, jobs: Mapping[str, tuple[Ask | None, Callable[[], Ask]]], *, repeats: int
) -> None:
    """Time every kind of request in turn with the bare route and the work in process."""
    rows = []
    for name, (work, make) in jobs.items():
        ask = make()
        times: dict[str, list[float]] = {"bare": [], "work": [], "served": []}
        for number in range(-10, repeats):  # the first are not counted
            for kind, call in (("bare", lambda n: bare.get("/")), ("work", work), ("served", ask)):
                if call is not None:
                    started = time.perf_counter()
                    call(number % 1_000_000)
                    times[kind].append(1000 * (time.perf_counter() - started))
        middle = {kind: float(np.median(found[10:] or [np.nan])) for kind, found in times.items()}
        rows.append(
            (
                name, f"{middle['bare']:.1f}", f"{middle['work']:.1f}", f"{middle['served']:.1f}",
                f"{np.quantile(times['served'][10:], 0.99):.1f}",
                f"{middle['served'] - middle['work']:.1f}", f"{rate(make, repeats):,.0f}",
            )
        )  # fmt: skip
    measuring.print_table(
        (
            "",
            "bare route",
            "in process",
            "p50",
            "p99",
            "overhead",
            f"requests/s, {_CLIENTS} clients",
        ),
        rows,
    )


def rate(make: Callable[[], Ask], count: int) -> float:
    """Ask with several clients at once and return the requests per second."""
    clients = [make() for _ in range(_CLIENTS)]

    def ask(number: int) -> None:
        for step in range(count // _CLIENTS):
            clients[number](number * count + step)

    with ThreadPoolExecutor(_CLIENTS) as threads:
        started = time.perf_counter()
        list(threads.map(ask, range(_CLIENTS)))
    return count // _CLIENTS * _CLIENTS / (time.perf_counter() - started)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
