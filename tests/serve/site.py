"""An index whose every name is hostile or private, and a client of its server in this process."""

import asyncio
import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from PIL import Image

from histo_index.api.build import build
from histo_index.api.index import Index
from histo_index.api.maps.make import update_map
from histo_index.demo.tiles import write_tiles
from histo_index.encoder.create import init_encoder
from histo_index.serve.app import create_app
from histo_index.serve.config import Limits, ServeConfig
from histo_index.serve.state.state import State
from tests.copies import copy_built

TOKEN: Final = "a-token-of-the-tests-that-is-long-enough"
ORIGIN: Final = "http://127.0.0.1:8000"
# Names of patients and code, wherever a user can write something.
PATIENT: Final = "Mustermann_Erika"
HOSTILE: Final = "<img src=x onerror=alert(1)>"
FORMULA: Final = '=HYPERLINK("x")'
TILES: Final = 48
# Times that no busy machine reaches.
PATIENT_LIMITS: Final = Limits(header_s=300, body_s=300, decode_s=300, wait_s=300)


@dataclass(frozen=True, kw_only=True)
class Site:
    """An index with the folder that it was built from."""

    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / "tiles.hx"

    @property
    def tiles(self) -> Path:
        return self.folder / "tiles"

    def copy(self, folder: Path) -> "Site":
        copy_built(self.folder, folder)
        return Site(folder=folder)

    def config(self, **changes: Any) -> ServeConfig:
        usual = ServeConfig(
            index=self.index, token=TOKEN, origin=ORIGIN, hosts=frozenset({"127.0.0.1:8000"}),
            limits=PATIENT_LIMITS,
        )  # fmt: skip
        return replace(usual, **changes)


def make_site(folder: Path) -> Site:
    """Build and calibrate an index of 48 tiles of six slides, with a map."""
    made = Site(folder=folder)
    labels = write_tiles(made.tiles, tiles_per_category=6, slides=6, size_px=64)
    with open(labels, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        old = made.tiles / row["path"]
        row["path"] = f"{PATIENT}-{row['path']}"
        new = made.tiles / row["path"]
        new.parent.mkdir(exist_ok=True)
        old.rename(new)
        row |= {
            "remark": f"{HOSTILE} {row['label']}",
            "formula": FORMULA,
            "patient": PATIENT,
            "mpp": "0.5",
        }
    with open(labels, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    init_encoder(folder / "encoder", arch="resnet18", seed=0)
    build(made.tiles, made.index, encoder=folder / "encoder", manifest=labels, private="patient")
    Index(made.index).calibrate(labels="label")
    update_map(made.index)
    return made


class Client:
    """Asks a server in this process, without a network.

    Attributes:
        state: of the server.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.state = State(config)
        self._runner = asyncio.Runner()
        self._app = create_app(self.state)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self._app), base_url=ORIGIN
        )

    def ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send a request as it is."""
        return self._runner.run(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Ask with the token, as programs do."""
        return self._with_token("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        """Send with the token."""
        return self._with_token("POST", url, **options)

    def json(self, url: str, **options: Any) -> Any:
        """Ask for JSON that must come."""
        found = self.get(url, **options)
        assert found.status_code == 200, found.text
        return found.json()

    def ids(self, count: int = 5, **filters: str) -> list[str]:
        """List ids of random tiles."""
        fields = [
            pair
            for name, value in filters.items()
            for pair in (("column", name), ("operator", "eq"), ("value", value))
        ]
        found = self.json("/v1/tiles", params=[("limit", str(count)), *fields])
        return [tile["id"] for tile in found["tiles"]]

    def together(self, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """Send several requests at once."""

        async def send() -> list[httpx.Response]:
            asked = (
                self._client.request(method, url, **{"headers": BEARER, **options})
                for method, url, options in requests
            )
            return list(await asyncio.gather(*asked))

        return self._runner.run(send())

    def forget_cookies(self) -> None:
        self._client.cookies.clear()

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
        self.state.close()

    def _with_token(self, method: str, url: str, **options: Any) -> httpx.Response:
        headers = {**BEARER, **options.pop("headers", {})}
        return self.ask(method, url, headers=headers, **options)


BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def serving(config: ServeConfig) -> Iterator[Client]:
    """Serve an index to a client in this process."""
    client = Client(config)
    try:
        yield client
    finally:
        client.close()


def small(**changes: Any) -> Limits:
    """Return limits that tests reach quickly."""
    return replace(PATIENT_LIMITS, upload_bytes=200_000, pixels=100_000, **changes)


def image_of(path: Path) -> tuple[str, bytes, str]:
    """Return a file as httpx sends it; its name is that of a patient."""
    return (f"{PATIENT}.png", path.read_bytes(), "image/png")


def problem(found: httpx.Response) -> dict[str, Any]:
    """Read a refusal, and check that it is one line of problem+json."""
    assert found.headers["content-type"] == "application/problem+json", found.text
    body: dict[str, Any] = json.loads(found.text)
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == found.status_code
    assert "\n" not in body["detail"]
    return body


def draw(path: Path, size: tuple[int, int], colour: str = "purple") -> Path:
    """Write an image."""
    Image.new("RGB", size, colour).save(path)
    return path
