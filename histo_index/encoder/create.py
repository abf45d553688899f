"""Create encoder folders: import a checkpoint or draw random weights."""

from pathlib import Path

from histo_index.encoder.config import MEAN, EncoderConfig, PublishedThreshold
from histo_index.encoder.folder import require_free, save_encoder
from histo_index.encoder.importing.child import read_in_child
from histo_index.encoder.runtime.untrained import random_weights


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
    """Import a torchvision-style checkpoint as an encoder folder; see `read_in_child`.

    A checkpoint does not contain its pooling; see `EncoderConfig`.

    Returns:
        The fingerprint.

    Raises:
        InputError: checkpoint, architecture or output cannot be used.
        MismatchError: the weights do not fit the architecture.
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
    # Checked first, because reading may take a minute.
    require_free(output, overwrite=overwrite)
    weights = read_in_child(checkpoint, arch, pooling=pooling)
    return save_encoder(output, config, weights, overwrite=overwrite)


def init_encoder(output: Path, *, arch: str, seed: int, overwrite: bool = False) -> str:
    """Create an encoder folder with random weights, marked as untrained.

    Returns:
        The fingerprint.

    Raises:
        InputError: architecture or output cannot be used.
    """
    config = EncoderConfig(
        architecture=arch,
        training={"method": "none", "seed": seed},
    )
    return save_encoder(output, config, random_weights(arch, seed=seed), overwrite=overwrite)
