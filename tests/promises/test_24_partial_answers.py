"""Promise 24: a partial answer is refused or labelled; a lost part answers again."""

import contextlib
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]
import pytest
import ray  # before the session, which has to switch on tokens all the same

import histo_index
from histo_index.api.cluster.search import dividing, sharded_search
from histo_index.api.index import Index
from histo_index.cluster.ray_session import ray_session
from histo_index.cluster.searching.ray_search import ShardedSearch
from histo_index.errors import InputError, PartialAnswerError
from histo_index.serve.config import ServeConfig
from tests.cluster.two_hosts import TwoHosts, can_run
from tests.conftest import is_long
from tests.promises.conftest import Tell
from tests.serve.site import ORIGIN, PATIENT_LIMITS, TOKEN, Client, serving
from tests.vectors import unit_vectors

N, D, PARTS = 240, 16, 4
IDS: Final = [f"t{number:03}" for number in range(N)]
_LONGEST_S: Final = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One Ray for all tests: the blocks in them use it."""
    with ray_session(None, cpus=PARTS) as session:
        yield session
    assert ray.is_initialized() is False


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    path = tmp_path_factory.mktemp("parts") / "x.hx"
    return histo_index.from_embeddings(IDS, unit_vectors(N, D), path, distance="plain")


def ask_until(is_enough: Callable[[Any], bool], ask: Callable[[], Any]) -> Any:
    """Ask until an answer is enough: a killed part is not dead at once, nor back at once."""
    deadline = time.monotonic() + _LONGEST_S
    while not is_enough(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return answer


def kill(search: ShardedSearch, part: int) -> None:
    search.ray.kill(search.actors[part], no_restart=False)


@pytest.mark.usefixtures("ray_is_untidy", "cluster")
def test_one_of_four_parts_is_killed(
    index: Index, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    queries = IDS[::12]
    alone = [list(found) for found in index.search(queries, k=9)]

    def ask() -> list[list[Any]] | None:
        with contextlib.suppress(PartialAnswerError):
            return [list(found) for found in index.search(queries, k=9)]
        return None

    with sharded_search(index, parts=PARTS, allow_partial=True) as search:

        def ask_partly() -> tuple[str | None, set[str]]:
            with search.counting() as count:
                found = index.search(queries, k=9)
            return count.label, {near.image_id for one in found for near in one}

        assert ask() == alone
        kill(search, 2)
        label, found = ask_until(lambda answer: answer[0] is not None, ask_partly)
        assert label == "3 of 4"
        assert "partial: only 3 of 4 parts of the index answered" in caplog.text
        assert not found & set(IDS[120:180])
        # Refused where nobody labels it, and whole again once Ray has started it elsewhere.
        ask_until(lambda answer: answer == alone, ask)
        search.allow_partial = False
        kill(search, 0)
        assert ask_until(lambda answer: answer is None, ask) is None
        assert ask_until(lambda answer: answer is not None, ask) == alone
    tell("1 of 4 parts killed", "3 of 4 labelled or refused, then whole again")


@pytest.mark.usefixtures("ray_is_untidy", "cluster")
def test_a_part_of_a_server_is_killed(
    request: pytest.FixtureRequest, index: Index, tell: Tell
) -> None:
    """Refusals are in `tests/serve/test_parts.py`."""
    if not is_long(request.config):
        pytest.skip("with --long: the same parts as in a search; tests/serve has the refusals")
    searches: list[ShardedSearch] = []
    with dividing("ray", None, PARTS, allow_partial=True, longest_s=8.0) as divide:

        def remember(opened: Index) -> ShardedSearch:
            assert divide is not None
            searches.append(divide(opened))
            return searches[-1]

        config = ServeConfig(
            index=index.opened.folder, token=TOKEN, origin=ORIGIN, divide=remember,
            hosts=frozenset({"127.0.0.1:8000"}), limits=PATIENT_LIMITS,
        )  # fmt: skip
        with serving(config) as client:
            whole = _ask_server(client)
            assert (whole.status_code, whole.json()["parts"]) == (200, None)
            kill(searches[0], 1)
            found = ask_until(lambda answer: answer.text != whole.text, lambda: _ask_server(client))
            assert (found.status_code, found.json()["parts"]) == (200, "3 of 4")
            ask_until(lambda answer: answer.text == whole.text, lambda: _ask_server(client))
    tell("1 of 4 parts of a server killed", "3 of 4 labelled, then whole again")


def _ask_server(client: Client) -> Any:
    (tile,) = client.ids(1)
    return client.get("/v1/search", params={"id": tile, "k": 100})


def test_a_machine_with_a_part_is_lost(
    request: pytest.FixtureRequest, index: Index, tmp_path: Path, tell: Tell
) -> None:
    if not is_long(request.config):
        pytest.skip("two hosts take minutes: make test-long")
    if not can_run():
        pytest.skip("needs root and network namespaces")
    with TwoHosts(tmp_path) as hosts:
        driver = hosts.start("-m", "tests.cluster.two_hosts", "ask", str(index.opened.folder))
        log = tmp_path / "driver.log"
        ask_until(lambda text: "ready" in text, log.read_text)
        hosts.kill_host("hxb")
        assert driver.wait(3 * _LONGEST_S) == 0, log.read_text()[-2000:]
    (answer,) = [line for line in log.read_text().splitlines() if line.startswith("refused")]
    tell("1 of 2 machines with a part lost", answer)


@pytest.mark.usefixtures("cluster")
def test_a_cluster_of_our_own_listens_on_loopback_only() -> None:
    own = psutil.Process()
    heard = [
        ip_address(entry.laddr.ip.removeprefix("::ffff:"))
        for process in [own, *own.children(recursive=True)]
        for entry in process.net_connections("inet")
        if entry.status == "LISTEN"
    ]
    assert len(heard) > 3
    assert [address for address in heard if not address.is_loopback] == []


@pytest.mark.usefixtures("cluster")
def test_another_cluster_is_refused_while_one_is_connected(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="Ray is connected already; leave it out"),
        ray_session("127.0.0.1:1"),
    ):
        raise AssertionError
    assert ray.is_initialized()
