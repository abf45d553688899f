"""Plan an index from Python: what a number of tiles takes, from a rate measured here or given."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from histo_index.cluster.planning.plan import Plan, Question, make_plan
from histo_index.errors import InputError

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder

# Tiles that are encoded to measure the rate; the first ones start the runtime.
_START: Final = 16
_MEASURED: Final = 64
_SIDE_PX: Final = 256


def plan(
    tiles: float,
    *,
    encoder: str | Path | None = None,
    device: str = "auto",
    tiles_per_second: float | None = None,
    workers: int = 1,
    tile_bytes: float = 30_000,
    machine_bytes: float = 64e9,
    hour_price: float | None = None,
) -> Plan:
    """Plan time, storage, memory and machines for a number of tiles.

    Args:
        tiles: N.
        encoder: an encoder folder; default: the bundled one.
        device: `auto`, `cpu` or `cuda`.
        tiles_per_second: encoded by one worker, decoding included; default: measured here, on 64
            JPEG tiles of 256 px.
        workers: that encode.
        tile_bytes: of an image file.
        machine_bytes: memory of a machine that searches.
        hour_price: of an hour of a worker, in any currency.

    Raises:
        InputError: a number is not above 0, or there is no such device.
    """
    from histo_index.api.encoders import open_encoder

    if not 1 <= tiles < 1e15:
        raise InputError(f"--tiles {tiles:g}: expected 1 or more")
    opened = open_encoder(encoder, device=device)
    rate = measure_rate(opened) if tiles_per_second is None else tiles_per_second
    return make_plan(
        Question(
            tiles=int(tiles),
            embedding_size=opened.embedding_size,
            tiles_per_second=rate,
            is_rate_given=tiles_per_second is not None,
            workers=workers,
            tile_bytes=tile_bytes,
            machine_bytes=machine_bytes,
            hour_price=hour_price,
        )
    )


def measure_rate(encoder: "Encoder") -> float:
    """Measure how many JPEG tiles of 256 px are encoded a second on this machine."""
    with tempfile.TemporaryDirectory() as name:
        paths = [_write_tile(Path(name) / f"{number}.jpg") for number in range(_START + _MEASURED)]
        results = encoder.encode_files(paths)
        for _ in range(_START):
            next(results)
        started = time.perf_counter()
        count = sum(1 for _ in results)
        return count / (time.perf_counter() - started)


def _write_tile(path: Path) -> Path:
    """Write a picture that is about as hard to decode as tissue."""
    random = np.random.default_rng(int(path.stem))
    coarse = random.integers(90, 230, (32, 32, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
    noisy = np.asarray(image, np.int16) + random.integers(-12, 13, (_SIDE_PX, _SIDE_PX, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path
