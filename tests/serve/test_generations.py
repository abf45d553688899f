"""The server answers from the newest generation, and stops without cutting anybody off."""

import asyncio
import re
import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from histo_index.api.build import build
from histo_index.api.index import Index
from histo_index.api.own_calibration import clear_calibration
from histo_index.encoder.create import init_encoder
from histo_index.encoder.decode.pictures import Box
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.uploads import Upload, Uploads
from tests.serve.real import running
from tests.serve.site import BEARER, TOKEN, Site, image_of, serving


def test_a_new_generation_is_noticed_and_ids_stay(own_site: Site) -> None:
    index = Index(own_site.index)
    with serving(own_site.config()) as client:
        kept, removed = client.ids(2)
        before = client.json("/v1/search", params={"id": kept, "k": 50})
        tag = client.get(f"/v1/tiles/{kept}").headers["etag"]
        old = client.state.current.get()
        row = old.ids.row_of(removed)
        assert row is not None
        index.remove(names=[list(index)[row]])
        after = client.json("/v1/search", params={"id": kept, "k": 50})
        assert client.get(f"/v1/tiles/{removed}").status_code == 404
        assert client.get(f"/v1/tiles/{kept}").headers["etag"] != tag
        # Whoever asked before is answered from what they asked.
        assert old.ids.row_of(removed) == row
        assert old.facts(row)["label"]
    assert [hit["id"] for hit in after["hits"]] == [
        hit["id"] for hit in before["hits"] if hit["id"] != removed
    ]
    assert len(after["hits"]) == 46


def test_a_new_calibration_is_noticed(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        a, b = client.ids(2)
        assert client.json("/v1/pair", params={"a": a, "b": b})["probability"] is not None
        clear_calibration(own_site.index)
        assert client.json("/v1/pair", params={"a": a, "b": b})["probability"] is None


def test_an_index_that_is_repaired_is_answered_from_again(own_site: Site) -> None:
    with serving(own_site.config()) as client:
        moved = own_site.folder / "moved.hx"
        shutil.move(own_site.index, moved)
        assert client.get("/readyz").status_code == 503
        shutil.move(moved, own_site.index)
        assert client.get("/readyz").status_code == 200
        assert len(client.ids(50)) == 48


def test_an_upload_outlives_a_generation_but_not_the_server(own_site: Site) -> None:
    path = next(own_site.tiles.rglob("*.png"))
    index = Index(own_site.index)
    with serving(own_site.config()) as client:
        data = {"crop": "0,0,0.9,0.9", "k": "5"}
        first = client.post("/v1/search", files={"image": image_of(path)}, data=data).json()
        index.remove(names=[next(iter(index))])
        (upload,) = first["like"]
        assert client.get("/v1/search", params={"id": upload, "k": 5}).status_code == 200
    with serving(own_site.config()) as client:
        gone = client.get("/v1/search", params={"id": upload, "k": 5})
    assert gone.status_code == 410
    assert "upload the image again" in gone.json()["detail"]


def test_an_upload_is_encoded_by_the_encoder_that_prepared_it(
    own_site: Site, tmp_path: Path
) -> None:
    encoder, other = tmp_path / "encoder", tmp_path / "other.hx"
    init_encoder(encoder, arch="resnet18", seed=1)
    build(own_site.tiles, other, encoder=encoder, manifest=own_site.tiles / "labels.csv")
    data = next(own_site.tiles.rglob("*.png")).read_bytes()
    with serving(own_site.config()) as client:
        state, before = client.state, client.state.current.get().engine.fingerprint

        def read() -> bytes:
            # The image waits for a decoder while another encoder comes.
            shutil.rmtree(own_site.index)
            shutil.move(other, own_site.index)
            return data

        upload = asyncio.run(state.take_in(read, None, None))
        assert state.current.get().engine.fingerprint != before
        assert upload.fingerprint == before


def test_a_server_can_load_everything_before_the_first_upload(site: Site) -> None:
    with serving(site.config()) as client:
        before = len(psutil.Process().children())
        client.state.warm_up().result()
        assert len(psutil.Process().children()) > before
        assert client.state.lanes["encode"].inside == 0


def test_only_the_last_uploads_are_held() -> None:
    uploads = Uploads(b"key", most=2)
    for name in ("u1", "u2", "u1", "u3"):
        uploads.keep(
            Upload(
                upload_id=name, embedding=np.zeros(1, np.float16), fingerprint="", sha256="",
                picture=b"", width=1, height=1,
            )
        )  # fmt: skip
    assert [uploads.get(name).upload_id for name in ("u1", "u3")] == ["u1", "u3"]
    with pytest.raises(RefusalError, match="no longer held"):
        uploads.get("u2")
    box = Box(left=0, top=0, right=1, bottom=1)
    assert len({uploads.name(data, part) for data in (b"1", b"2") for part in (None, box)}) == 4


def test_requests_in_flight_are_finished_when_the_server_stops(site: Site) -> None:
    with running(site) as served:
        body = b'{"pairs": []}'
        with served.connect() as connection:
            head = served.head(
                "POST",
                "/v1/pairs",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
            )
            connection.sendall(head + body[:5])
            httpx.get(
                f"{served.url}/healthz", headers=BEARER, timeout=60
            )  # by now the head has arrived
            served.server.should_exit = True
            ended = threading.Event()
            while not ended.wait(0.05) and served.server.servers[0].is_serving():
                pass
            connection.sendall(body[5:])
            answer = b""
            while data := connection.recv(65_536):
                answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b'{"pairs":[]}')


def test_the_example_of_the_page_runs(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    folder = tmp_path / "demo" / "tiles" / "slide-01"
    folder.mkdir(parents=True)
    shutil.copyfile(next(site.tiles.rglob("*.png")), folder / "0001.png")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.chdir(tmp_path)
    with running(site) as served:
        exec(example.replace(":8000", f":{served.port}"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["1", "2", "3", "4", "5"]
