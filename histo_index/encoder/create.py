"""Make encoder folders: import a checkpoint or draw untrained weights."""

from pathlib import Path

from histo_index.encoder.config import MEAN, EncoderConfig, PublishedThreshold
from histo_index.encoder.folder import require_free, save_encoder
from histo_index.encoder.import_child import read_in_child


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
    from histo_index.encoder.runtime.reference import random_weights

    config = EncoderConfig(
        architecture=arch,
        training={"method": "none", "seed": seed},
    )
    return save_encoder(output, config, random_weights(arch, seed=seed), overwrite=overwrite)
