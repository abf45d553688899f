"""The encoder folder: `config.json`, `model.safetensors`, and the fingerprint over both."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from histo_index.encoder.config import (
    PROJECTION_PREFIX,
    SECOND,
    SECOND_PREFIX,
    THRESHOLD_FIELDS,
    EncoderConfig,
    PublishedThreshold,
    has_projection,
    unused_stages,
)
from histo_index.encoder.decode.preprocessing import BILINEAR, Preprocessing
from histo_index.encoder.foreign import ForeignNetwork
from histo_index.encoder.unfinished import CHECKPOINT_NAME, REMEDY, describe_unfinished
from histo_index.encoder.weights_file import (
    ONNX_NAME,
    Weights,
    find_weights,
    pack_weights,
    place_weights,
    read_weights,
)
from histo_index.errors import IndexFormatError, InputError
from histo_index.files import publish_bytes

_Weight = TypeVar("_Weight")

_log = logging.getLogger(__name__)

FORMAT_VERSION: Final = 1
_FORMAT: Final = "histo-index encoder"
CONFIG_NAME: Final = "config.json"
# The encoder that ships with the package.
BUNDLED: Final = Path(__file__).parent / "bundled"


@dataclass(frozen=True, kw_only=True)
class EncoderFolder:
    """An encoder that was read and checked.

    Attributes:
        path: the folder.
        config: its description.
        weights: parameter name (torchvision's, without `fc.*`, or that of the foreign library) to
            float32 array; may include stages that are not pooled. Of an ONNX network ONNX_NAME to
            the bytes of its file.
        fingerprint: hex digest over weights and preprocessing.
    """

    path: Path
    config: EncoderConfig
    weights: Weights
    fingerprint: str


def save_encoder(
    folder: Path, config: EncoderConfig, weights: Weights, *, overwrite: bool = False
) -> str:
    """Write an encoder into a new or empty folder.

    Args:
        folder: created if missing.
        config: the description of the encoder.
        weights: parameters by torchvision name, written in their own float type.
        overwrite: replace an existing encoder; other files are never replaced.

    Returns:
        The fingerprint.

    Raises:
        InputError: the folder is not empty; with overwrite, it holds no encoder.
        OSError: the disk is full or not writable.
    """
    require_free(folder, overwrite=overwrite)
    return write_encoder(folder, config, weights)


def write_encoder(folder: Path, config: EncoderConfig, weights: Weights) -> str:
    """Write the files of an encoder into a folder; an existing encoder is replaced.

    The config is written last. If the process is killed before, there is no encoder yet, or while
    replacing one, the two files do not belong together, which `load_encoder` detects.

    Returns:
        The fingerprint.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = compute_fingerprint(config, weights)
    document = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "embedding_size": config.embedding_size,
        **asdict(config),
    }
    document["checksum"] = config_checksum(document)
    place = place_weights(folder, config)
    place.parent.mkdir(exist_ok=True)
    data = weights[ONNX_NAME].tobytes() if place.name == ONNX_NAME else pack_weights(weights)
    publish_bytes(place, data)
    publish_bytes(folder / CONFIG_NAME, (json.dumps(document, indent=2) + "\n").encode())
    return fingerprint


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Check that an encoder can be written to a folder; see `save_encoder`."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{folder} exists already; pass another folder or --overwrite")
    try:
        document = json.loads((folder / CONFIG_NAME).read_bytes())
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InputError(
            f"{folder} holds other files and no encoder, which alone is overwritten; "
            "pass another folder"
        )


def load_encoder(folder: Path) -> EncoderFolder:
    """Read and check an encoder folder.

    An unfinished training run is a warning in the log.

    Raises:
        IndexFormatError: a file is missing, damaged, or of a newer version.
    """
    config, expected = read_config(folder)
    path = find_weights(folder, config)
    stored = read_weights(path)
    found = compute_fingerprint(config, stored)
    if found != expected:
        raise IndexFormatError(
            f"{path}: damaged: fingerprint {found}, expected {expected}; restore the file"
        )
    if warning := describe_unfinished(folder, config.training):
        _log.warning("%s", warning)
    weights = {
        name: array if name == ONNX_NAME else np.asarray(array, np.float32)
        for name, array in stored.items()
    }
    return EncoderFolder(path=folder, config=config, weights=weights, fingerprint=found)


def read_config(folder: Path) -> tuple[EncoderConfig, str]:
    """Read the description of an encoder, without its weights.

    Returns:
        The description and the fingerprint.

    Raises:
        IndexFormatError: the file is missing, damaged, or of a newer version.
    """
    document = _read_config(folder)
    try:
        return _config_from(document), str(document.get("fingerprint"))
    except (KeyError, TypeError, ValueError, InputError, IndexFormatError) as error:
        raise IndexFormatError(
            f"{folder / CONFIG_NAME}: not a usable encoder description ({error!r}); "
            "restore the file or create the encoder again"
        ) from error


def used_weights(weights: Mapping[str, _Weight], pooling: str) -> dict[str, _Weight]:
    """Return the weights that a pooling uses: no part of the network that it lacks."""
    unused = [f"{stage}." for stage in unused_stages(pooling)]
    if not has_projection(pooling):
        unused.append(PROJECTION_PREFIX)
    if pooling != SECOND:
        unused.append(SECOND_PREFIX)
    unused_names = tuple(unused)
    return {name: array for name, array in weights.items() if not name.startswith(unused_names)}


@cache
def bundled_thresholds(fingerprint: str) -> Mapping[str, Any]:
    """Return the published thresholds of the bundled encoder, by field, if it has this fingerprint.

    An index may have been built before all of them were published.

    Raises:
        IndexFormatError: the config of the bundled encoder is damaged.
    """
    if not (BUNDLED / CONFIG_NAME).is_file():
        return {}
    document = _read_config(BUNDLED)
    if document["fingerprint"] != fingerprint:
        return {}
    return {name: document[name] for name in THRESHOLD_FIELDS}


def bundled_encoder() -> Path:
    """Return the folder of the encoder in this package.

    Raises:
        InputError: it is missing.
    """
    if not (BUNDLED / CONFIG_NAME).is_file():
        raise InputError(
            "this package has no encoder; pass --encoder DIR or install histo-index again"
        )
    return BUNDLED


def compute_fingerprint(config: EncoderConfig, weights: Weights) -> str:
    """Hash everything that determines the embeddings.

    Returns:
        32 hex digits over architecture, arguments of a foreign network, preprocessing, pooling, and
        every weight with its name and type.
    """
    digest = hashlib.sha256()
    recipe: dict[str, Any] = {
        "architecture": config.architecture,
        "pooling": config.pooling,
        "preprocessing": asdict(config.preprocessing),
    }
    if config.preprocessing.interpolation == BILINEAR:
        del recipe["preprocessing"]["interpolation"]  # the only one of our own networks
    if config.foreign is not None:
        recipe["arguments"] = dict(config.foreign.arguments)
    digest.update(json.dumps(recipe, sort_keys=True).encode())
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()[:32]


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        if (folder / CHECKPOINT_NAME).is_file() and not path.exists():
            raise IndexFormatError(
                f"{folder}: no encoder yet: its training stopped in the first epoch; {REMEDY}"
            ) from error
        raise IndexFormatError(
            f"{path}: cannot be read ({error.strerror}); pass a folder made by "
            "`histo-index encoder`"
        ) from error
    except ValueError as error:
        raise IndexFormatError(f"{path}: damaged ({error}); restore the file") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise IndexFormatError(f"{path}: not an encoder's config.json")
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IndexFormatError(
            f"{path}: encoder format {version}, this release reads {FORMAT_VERSION}; "
            "upgrade histo-index"
        )
    stored, found = document.pop("checksum", None), config_checksum(document)
    if found != stored or not isinstance(version, int) or version < 1:
        raise IndexFormatError(
            f"{path}: damaged: checksum {found}, expected {stored}; restore the file"
        )
    return document


def config_checksum(document: Mapping[str, Any]) -> str:
    """Hash the whole config; the fingerprint covers only what determines the embeddings."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _config_from(document: dict[str, Any]) -> EncoderConfig:
    thresholds = {name: document[name] for name in THRESHOLD_FIELDS}
    foreign = document.get("foreign")
    return EncoderConfig(
        architecture=document["architecture"],
        pooling=document["pooling"],
        preprocessing=Preprocessing(**document["preprocessing"]),
        training=dict(document["training"]),
        mpp=document["mpp"],
        foreign=ForeignNetwork(**foreign) if foreign else None,
        **{name: PublishedThreshold(**own) if own else None for name, own in thresholds.items()},
    )
