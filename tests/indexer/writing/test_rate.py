"""Tiles per shard follow from a measured rate, and what was measured is not encoded twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from histo_index.indexer.format.manifest import read_manifest
from histo_index.indexer.writing.rate import choose_shard_rows, measure_rate
from tests.indexer.fakes import (
    FakeEncoder,
    expected_rows,
    numbered,
    require_sound,
    run_build,
    write_tiles,
)


class Clock:
    """A clock that a stream of results moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def stream(self, count: int, seconds: float, *, burst: int = 1) -> Iterator[int]:
        """Yield results, some at once, with time between the bursts; the first takes long."""
        self.now += 30.0
        for number in range(count):
            if number and number % burst == 0:
                self.now += seconds
            yield number


@pytest.mark.parametrize(
    ("seconds", "burst", "taken", "rate"),
    [
        (0.1, 1, 64, 10.0),
        (2.0, 1, 6, 0.5),
        # Four at once every 20 s: measured over one interval.
        (20.0, 4, 5, 0.2),
        (0.0, 1, 64, float("inf")),
    ],
)
def test_rate_is_measured_without_start_up(
    seconds: float, burst: int, taken: int, rate: float
) -> None:
    clock = Clock()
    stream = clock.stream(1000, seconds, burst=burst)
    found, measured = measure_rate(stream, clock)
    assert found == list(range(taken))
    assert measured == pytest.approx(rate)
    assert next(stream) == taken


@pytest.mark.parametrize(
    ("rate", "rows"), [(float("inf"), 1024), (18, 1024), (17, 512), (3, 128), (1, 32), (0.01, 8)]
)
def test_a_shard_takes_30_to_60_seconds(rate: float, rows: int) -> None:
    assert choose_shard_rows(rate) == rows


def test_tiles_that_were_measured_are_encoded_once(
    tmp_path: Path, output: Path, encoder: FakeEncoder
) -> None:
    tiles = write_tiles(tmp_path / "many", numbered(150))
    (tiles / "t0003.png").write_text("broken")
    run_build(output, encoder, tiles, shard_rows=None)
    assert encoder.encoded == numbered(150)
    names = [name for name in numbered(150) if name != "t0003.png"]
    require_sound(output, expected_rows(tiles, names))
    assert read_manifest(output).settings.shard_rows == 1024
