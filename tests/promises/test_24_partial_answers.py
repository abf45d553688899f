"""Promise 24: a partial answer is refused or labelled; a lost part answers again."""

import contextlib
import time
from ipaddress import ip_address
from typing import Final

import psutil
import pytest
import ray  # before the session, which has to switch on tokens all the same

import histo_index
from histo_index.api.cluster.search import sharded_search
from histo_index.api.index import Index
from histo_index.errors import PartialAnswerError
from tests.promises.conftest import Tell
from tests.vectors import unit_vectors

N, D, PARTS = 240, 16, 4
_LONGEST_S: Final = 120.0


def beyond_loopback() -> list[str]:
    """List where this process and its children listen for other machines."""
    own = psutil.Process()
    return [
        entry.laddr.ip
        for process in [own, *own.children(recursive=True)]
        for entry in process.net_connections("inet")
        if entry.status == "LISTEN"
        and not ip_address(entry.laddr.ip.removeprefix("::ffff:")).is_loopback
    ]


def _ask_until(deadline: float, index: Index, queries: list[str]) -> None:
    """Ask until an error: a killed part is not dead at once."""
    while time.monotonic() < deadline:
        index.search(queries, k=9)


@pytest.mark.usefixtures("ray_is_untidy")
def test_one_of_four_parts_is_killed(
    tmp_path_factory: pytest.TempPathFactory, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"t{number:03}" for number in range(N)]
    path = tmp_path_factory.mktemp("parts") / "x.hx"
    index = histo_index.from_embeddings(ids, unit_vectors(N, D), path, distance="plain")
    queries = ids[::12]
    alone = index.search(queries, k=9)
    with sharded_search(index, parts=PARTS, allow_partial=True) as search:
        assert [list(found) for found in index.search(queries, k=9)] == [
            list(found) for found in alone
        ]
        assert beyond_loopback() == []
        search.ray.kill(search.actors[2], no_restart=False)
        deadline, label = time.monotonic() + _LONGEST_S, None
        while label is None and time.monotonic() < deadline:  # not dead at once
            with search.counting() as count:
                partial = index.search(queries, k=9)
            label = count.label
        assert label == "3 of 4"
        assert "partial: only 3 of 4 parts of the index answered" in caplog.text
        lost = {f"t{row:03}" for row in range(120, 180)}
        assert not lost & {near.image_id for found in partial for near in found}
        # Refused, unless allowed; and whole again once Ray has started it elsewhere.
        search.allow_partial = False
        search.ray.kill(search.actors[0], no_restart=False)
        with pytest.raises(PartialAnswerError, match=r"only [23] of 4 parts .* or pass --allow-pa"):
            _ask_until(deadline, index, queries)
        again = None
        while again is None and time.monotonic() < deadline:
            with contextlib.suppress(PartialAnswerError):
                again = index.search(queries, k=9)
    assert again is not None
    assert [list(found) for found in again] == [list(found) for found in alone]
    assert ray.is_initialized() is False
    tell("1 of 4 parts killed", "3 of 4 labelled or refused, then whole again")
