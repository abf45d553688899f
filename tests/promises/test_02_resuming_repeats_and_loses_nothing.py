"""Promise 2: resuming repeats no finished shard and loses none, after the kills of promise 1."""

from tests.promises.conftest import Tell
from tests.promises.killing import Killings


def test_no_tile_of_a_finished_shard_is_encoded_again_or_lost(
    killings: Killings, tell: Tell
) -> None:
    resumed = killings.resumed()
    repeated, lost = (
        sum(getattr(entry, name) for entry in resumed) for name in ("repeated", "lost")
    )
    tell(f"{len(resumed)} builds that went on", f"{repeated} tiles encoded again, {lost} lost")
    assert (repeated, lost) == (0, 0)
    # Each of 24 SIGKILLs, and every third of the writes before which a build is killed.
    assert len(resumed) > 40


def test_the_resumed_index_is_the_one_an_undisturbed_build_makes(killings: Killings) -> None:
    assert {entry.problem for entry in killings.resumed()} == {""}
