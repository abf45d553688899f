"""Baselines: the colour histogram, and the network of an encoder with random weights."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from histo_index.arrays import Float32, Pixels
from histo_index.encoder.config import COVARIANCE, EncoderConfig, has_projection
from histo_index.encoder.decode.image_file import DecodeLimits
from histo_index.encoder.decode.pool import DecodePool
from histo_index.encoder.decode.worker import DecodeSettings, PreparedTile
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import EncoderFolder, load_encoder
from histo_index.encoder.runtime.untrained import random_weights
from histo_index.errors import ImageError
from histo_index.hardware import usable_cores
from histo_index.progress import track

# Levels per channel: 512 colours.
_LEVELS: Final = 8
# 38 MB of pixels at 224 px.
_BATCH: Final = 256
_SEED: Final = 0
_STAND_IN: Final = "resnext50_32x4d"


def baseline_vectors(
    encoder: Path, paths: Sequence[Path], *, device: str
) -> tuple[Float32, Float32, list[str]]:
    """Compute the vectors of both baselines.

    Args:
        encoder: the encoder folder; its architecture and preprocessing are used.
        paths: the tiles [N].
        device: `auto`, `cpu` or `cuda`.

    Returns:
        float32 [N, 512] of colours and float32 [N, D] of random weights, rows of unit length; and
        the SHA-256 of each file.

    Raises:
        ImageError: a tile cannot be read.
        IndexFormatError: the encoder is damaged.
    """
    untrained = Encoder(_untrained(load_encoder(encoder)), device=device)
    colours: list[Float32] = []
    randoms: list[Float32] = []
    digests: list[str] = []
    settings = DecodeSettings(limits=DecodeLimits(), preprocessing=untrained.config.preprocessing)
    with DecodePool(settings, workers=usable_cores()) as pool:
        tiles = track(_usable(pool, paths), "encoding baselines", total=len(paths))
        while batch := list(itertools.islice(tiles, _BATCH)):
            colours += [colour_histogram(tile.pixels) for tile in batch]
            randoms.append(untrained.encode_pixels([tile.pixels for tile in batch]))
            digests += [tile.sha256 for tile in batch]
    return np.stack(colours), np.concatenate(randoms), digests


def colour_histogram(pixels: Pixels) -> Float32:
    """Compute the square roots of a colour histogram.

    Distances between them are twice the squared Hellinger distance.

    Args:
        pixels: uint8 RGB [H, W, 3].

    Returns:
        float32 [512], of unit length.

    Source: Hellinger (1909); as a kernel of histograms Arandjelović and Zisserman (2012), Three
    things everyone should know to improve object retrieval.
    """
    levels = pixels.reshape(-1, 3).astype(np.int64) * _LEVELS // 256
    codes = (levels[:, 0] * _LEVELS + levels[:, 1]) * _LEVELS + levels[:, 2]
    counts = np.bincount(codes, minlength=_LEVELS**3)
    roots: Float32 = np.sqrt(counts / counts.sum()).astype(np.float32)
    return roots


def _untrained(encoder: EncoderFolder) -> EncoderFolder:
    """Replace the weights by random ones; in place of a foreign network stands a ResNeXt-50."""
    if encoder.config.foreign is not None:
        stand_in = EncoderConfig(architecture=_STAND_IN, preprocessing=encoder.config.preprocessing)
        encoder = replace(encoder, config=stand_in)
    weights = random_weights(encoder.config.architecture, seed=_SEED)
    # A random projection of the covariances says nothing that they do not.
    pooling = encoder.config.pooling
    pooling = COVARIANCE if has_projection(pooling) else pooling
    config = replace(
        encoder.config,
        pooling=pooling,
        training={"method": "none", "seed": _SEED},
        threshold=None,
    )
    return replace(encoder, config=config, weights=weights, fingerprint="")


def _usable(pool: DecodePool[Path, PreparedTile], paths: Sequence[Path]) -> Iterator[PreparedTile]:
    for tile in pool.prepare(paths):
        if isinstance(tile, ImageError):
            raise tile
        yield tile
