"""Make encoder folders: import a checkpoint, draw untrained weights, measure int8 ranges."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from histo_index.encoder.config import MEAN, EncoderConfig, PublishedThreshold
from histo_index.encoder.decode_pool import DecodePool, usable_cores
from histo_index.encoder.decode_worker import DecodeSettings
from histo_index.encoder.folder import load_encoder, require_free, save_encoder
from histo_index.encoder.images import DecodeLimits, Pixels
from histo_index.encoder.import_child import read_in_child
from histo_index.encoder.int8 import CALIBRATION_TILES, Ranges, save_ranges
from histo_index.errors import ImageError

_log = logging.getLogger(__name__)


def import_encoder(
    checkpoint: Path,
    output: Path,
    *,
    arch: str,
    pooling: str = MEAN,
    threshold: float | None = None,
    mpp: float | None = None,
    overwrite: bool = False,
) -> str:
    """Turn a torchvision-style checkpoint into an encoder folder; see `read_in_child`.

    A checkpoint does not say how it is pooled; see `EncoderConfig`.

    Returns:
        The fingerprint.

    Raises:
        InputError: checkpoint, architecture or output cannot be used.
        MismatchError: the weights are not of the architecture.
    """
    published = None
    if threshold is not None:
        published = PublishedThreshold(value=threshold, origin=f"given when {output.name} was made")
    config = EncoderConfig(
        architecture=arch,
        pooling=pooling,
        training={"method": "imported", "checkpoint": checkpoint.name},
        mpp=mpp,
        threshold=published,
    )
    # Reading takes a minute at worst: it is not done for nothing.
    require_free(output, overwrite=overwrite)
    weights = read_in_child(checkpoint, arch, pooling=pooling)
    return save_encoder(output, config, weights, overwrite=overwrite)


def init_encoder(output: Path, *, arch: str, seed: int, overwrite: bool = False) -> str:
    """Make an untrained encoder folder, marked as such.

    Returns:
        The fingerprint.

    Raises:
        InputError: architecture or output cannot be used.
    """
    from histo_index.encoder.trunk import random_weights

    config = EncoderConfig(
        architecture=arch,
        training={"method": "none", "seed": seed},
    )
    return save_encoder(output, config, random_weights(arch, seed=seed), overwrite=overwrite)


def quantize_encoder(folder: Path, paths: Sequence[Path]) -> Ranges:
    """Measure int8 ranges on up to CALIBRATION_TILES tiles and keep them in the encoder folder.

    Args:
        folder: the encoder.
        paths: tiles, of which some spread evenly over the list are taken; those that cannot be
            used are named in the log and left out.

    Raises:
        InputError: not one tile can be used.
        IndexFormatError: the encoder is damaged.
    """
    from histo_index.encoder.openvino_cpu import measure_ranges

    encoder = load_encoder(folder)
    count = min(len(paths), CALIBRATION_TILES)
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=encoder.config.preprocessing)
    with DecodePool(settings, workers=usable_cores()) as pool:
        ranges = measure_ranges(encoder, _usable(pool, chosen))
    save_ranges(folder, ranges)
    return ranges


def _usable(pool: DecodePool, paths: Sequence[Path]) -> Iterator[Pixels]:
    for tile in pool.prepare(paths):
        if isinstance(tile, ImageError):
            _log.warning("%s", tile)
        else:
            yield tile.pixels
