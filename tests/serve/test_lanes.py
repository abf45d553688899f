"""Whatever changes something is refused before it begins, or done and answered."""

import asyncio
import threading

import pytest

from histo_index.serve.config import Limits
from histo_index.serve.safety.refusal import RefusalError
from histo_index.serve.state.lanes import Lane


def test_a_change_that_takes_long_is_answered_and_one_that_did_not_begin_is_dropped() -> None:
    lane, may_end = Lane("test", 1, Limits(wait_s=0.05)), threading.Event()
    dropped: list[bool] = []

    def take_long() -> str:
        may_end.wait()
        return "done"

    async def ask() -> str:
        changing = asyncio.create_task(lane.finish(take_long))
        await asyncio.sleep(0)
        with pytest.raises(RefusalError, match="503: the server is busy"):
            await lane.finish(dropped.append, True)
        with pytest.raises(RefusalError, match="503: the server is busy"):
            await lane.run(dropped.append, True)
        assert not changing.done()
        may_end.set()
        return await changing

    assert asyncio.run(ask()) == "done"
    lane.close()
    assert (dropped, lane.inside) == ([], 0)
