"""A header that promises too many pixels is all that is read of its file."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Final

import pytest

from histo_index.encoder.decode.image_file import DEFAULT_MAX_BYTES, HIGHEST_MAX_PIXELS, decode
from histo_index.errors import ImageError
from histo_index.indexer.hashing.files import MAX_BYTES
from tests.decoding import DecodingEncoder
from tests.encoder.files import png_file
from tests.hostile import bombs, formats
from tests.indexer.fakes import reasons, run_build
from tests.promises.conftest import Tell

# Prints for each file what it cost this process: reason, memory it never gave back, seconds of CPU.
SCRIPT: Final = """
import json, os, resource, sys
from pathlib import Path
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.errors import ImageError

def used():
    times = os.times()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, times.user + times.system

costs = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    before = used()
    try:
        reason = f"{read_tile(path, DecodeLimits()).pixels.shape}"
    except ImageError as error:
        reason = str(error)
    after = used()
    costs[path.name] = reason, after[0] - before[0], after[1] - before[1]
print(json.dumps(costs))
"""


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_without_memory(name: str) -> None:
    data = bombs()[name]
    assert len(data) < 1000
    tracemalloc.start()
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels=HIGHEST_MAX_PIXELS, name="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Pillow's reader of WebP gives up before it tells the size.
    size = "50000×50000 pixels, the limit is 178,956,970"
    what = "more pixels than Pillow opens" if "webp" in name else size
    assert str(caught.value) == f"x: too large: {what}; cut it into tiles"
    assert peak < 10**6


def test_bombs_cost_a_process_neither_memory_nor_time(tmp_path: Path, tell: Tell) -> None:
    # The last is below the size at which Pillow refuses: our own limit alone stops it.
    files = {**bombs(), "10k": png_file((10_000, 10_000), bits=16, colour=6, data=b"")}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    costs: dict[str, Any] = json.loads(ran.stdout)
    assert costs.keys() == files.keys()
    for reason, grown, cpu_s in costs.values():
        assert ": too large: " in reason
        assert grown < 100 * 2**20
        assert cpu_s < 1
    most = max(grown for _, grown, _ in costs.values())
    tell(f"{len(costs)} decompression bombs", f"all refused, at most {most // 2**20} MB extra")


def test_a_build_over_bombs_and_a_terabyte_reads_none_of_it(tmp_path: Path) -> None:
    """The file limit is asked before a file is hashed, which reads all of it."""
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for name, data in {**bombs(), "whole": formats()["png"]}.items():
        (tiles / f"{name}.png").write_bytes(data)
    with open(tiles / "terabyte.png", "wb") as file:
        file.truncate(2**40)
    with DecodingEncoder(folder=tmp_path / "encoder") as encoder:
        report = run_build(tmp_path / "t.hx", encoder, tiles)
    found = reasons(tmp_path / "t.hx")
    assert report.tiles == 1
    assert found.pop("terabyte.png") == (
        "cannot be read (too large: 1,099,511,627,776 bytes, the limit is 536,870,912; "
        "cut it into tiles)"
    )
    assert sorted(found) == sorted(f"{name}.png" for name in bombs())
    assert all(reason.startswith("too large: ") for reason in found.values())


def test_nothing_is_hashed_that_is_not_decoded_and_the_other_way_round() -> None:
    assert MAX_BYTES == DEFAULT_MAX_BYTES
