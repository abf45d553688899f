"""An encoder after a fork: the child encodes, and what cannot go on there says so."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from histo_index.encoder.folder import EncoderFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# Every process ends itself after this time: a child that hangs is a failure, and not for ever.
_PATIENCE_S = 120
_SCRIPT = """
    import multiprocessing, os, signal, sys
    from pathlib import Path

    import numpy as np

    from histo_index.encoder.encoder import open_encoder
    from histo_index.errors import HistoIndexError

    patience, folder, *files = sys.argv[1:]
    signal.alarm(int(patience))
    files = [Path(name) for name in files]
    encoder = open_encoder(Path(folder), device="cpu", precision="float32")
    images = list(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))
    stream = encoder.encode_files(files)
    next(stream)

    def encode(_):
        signal.alarm(int(patience))
        tiles = encoder.encode_files(files)
        return encoder.encode_pixels(images), np.array([tile.embedding for tile in tiles])

    def go_on(_):
        signal.alarm(int(patience))
        try:
            return list(stream)
        except HistoIndexError as error:
            return str(error)

    expected = encode(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(encode, range(2)):
            print([np.array_equal(*pair) for pair in zip(found, expected)])
        print(pool.apply(go_on, [0]).replace(str(os.getpid()), "PARENT"))
    if os.fork() == 0:
        sys.exit()  # frees what the parent has running
    print(os.wait()[1])
    print(len(list(stream)) == len(files) - 1)
"""


def test_a_forked_child_encodes_as_its_parent_does(
    settled: EncoderFolder, tile_files: list[Path], tmp_path: Path
) -> None:
    # In a file and not a pipe: a child that hangs would keep a pipe open.
    with (tmp_path / "told").open("w+") as told:
        ran = subprocess.run(
            [
                *(sys.executable, "-c", textwrap.dedent(_SCRIPT), str(_PATIENCE_S)),
                *map(str, [settled.path, *tile_files[:12]]),
            ],
            stdout=told,
            stderr=told,
            check=False,
        )
        told.seek(0)
        lines = told.read().splitlines()
    assert lines == [
        "[True, True]",
        "[True, True]",
        "this stream of tiles was started by process PARENT, before a fork; "
        "start it again in the child",
        "0",
        "True",
    ]
    assert ran.returncode == 0
