"""The encoder folder: `config.json` and `model.safetensors`, tied together by a fingerprint."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from histo_index.encoder.config import (
    THRESHOLD_FIELDS,
    EncoderConfig,
    PublishedThreshold,
    unused_stages,
)
from histo_index.encoder.decode.preprocessing import Preprocessing
from histo_index.encoder.unfinished import CHECKPOINT_NAME, REMEDY, describe_unfinished
from histo_index.errors import IndexFormatError, InputError
from histo_index.files import replace_file

Weights = dict[str, npt.NDArray[Any]]
_Weight = TypeVar("_Weight")

_log = logging.getLogger(__name__)

FORMAT_VERSION: Final = 1
_FORMAT: Final = "histo-index encoder"
CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "model.safetensors"
# The encoder that ships with the package.
BUNDLED: Final = Path(__file__).parent / "bundled"


@dataclass(frozen=True, kw_only=True)
class EncoderFolder:
    """An encoder read from disk and found whole.

    Attributes:
        path: the folder.
        config: what it is.
        weights: parameter name (torchvision's, without `fc.*`) to float32 array; stages that are
            not pooled may be there.
        fingerprint: hex digest over weights and preprocessing.
    """

    path: Path
    config: EncoderConfig
    weights: Weights
    fingerprint: str


def save_encoder(
    folder: Path, config: EncoderConfig, weights: Weights, *, overwrite: bool = False
) -> str:
    """Write an encoder folder where nothing else is.

    Args:
        folder: created if missing.
        config: what the encoder is.
        weights: parameters in torchvision's names; written in the float type they have.
        overwrite: replace an encoder that is there; anything else stays.

    Returns:
        The fingerprint.

    Raises:
        InputError: the folder holds something already; with overwrite, other than an encoder.
        OSError: the disk is full or not writable.
    """
    require_free(folder, overwrite=overwrite)
    return write_encoder(folder, config, weights)


def write_encoder(folder: Path, config: EncoderConfig, weights: Weights) -> str:
    """Write an encoder's files into a folder, over those of an encoder that is there.

    The config comes last: killed before it, there is no encoder yet; killed while overwriting, the
    two files may not belong together, which `load_encoder` refuses.

    Returns:
        The fingerprint.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = fingerprint_of(config, weights)
    document = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "embedding_size": config.embedding_size,
        **asdict(config),
    }
    document["checksum"] = _checksum(document)
    replace_file(folder / WEIGHTS_NAME, pack_weights(weights))
    replace_file(folder / CONFIG_NAME, (json.dumps(document, indent=2) + "\n").encode())
    return fingerprint


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that an encoder cannot be written to; see `save_encoder`."""
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
    """Read an encoder folder and check that it is whole.

    A training run that is not finished is a warning in the log.

    Raises:
        IndexFormatError: something is missing, damaged, or of a version not known here.
    """
    document = _read_config(folder)
    try:
        config = _config_from(document)
    except (KeyError, TypeError, ValueError, IndexFormatError) as error:
        raise IndexFormatError(
            f"{folder / CONFIG_NAME}: not a usable encoder description ({error!r}); "
            "restore the file or make the encoder anew"
        ) from error
    path = folder / WEIGHTS_NAME
    try:
        stored = unpack_weights(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IndexFormatError(f"{path}: cannot be read ({error}); restore the file") from error
    found, expected = fingerprint_of(config, stored), document.get("fingerprint")
    if found != expected:
        raise IndexFormatError(
            f"{path}: damaged: fingerprint {found}, expected {expected}; restore the file"
        )
    if warning := describe_unfinished(folder, config.training):
        _log.warning("%s", warning)
    weights = {name: np.asarray(array, np.float32) for name, array in stored.items()}
    return EncoderFolder(path=folder, config=config, weights=weights, fingerprint=found)


def pack_weights(weights: Weights) -> bytes:
    """Write weights as safetensors."""
    # safetensors writes memory as it lies: an array that is stored channels-last would come back
    # with its axes mixed up.
    data: bytes = save_safetensors(
        {name: np.ascontiguousarray(array) for name, array in weights.items()}
    )
    return data


def unpack_weights(data: bytes) -> Weights:
    """Read weights from safetensors.

    Raises:
        ValueError: these are none.
    """
    try:
        weights: Weights = load_safetensors(data)
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error
    return weights


def used_weights(weights: Mapping[str, _Weight], pooling: str) -> dict[str, _Weight]:
    """Leave out the stages that a pooling does not take, which checkpoints have, by their names."""
    unused = tuple(f"{stage}." for stage in unused_stages(pooling))
    return {name: array for name, array in weights.items() if not name.startswith(unused)}


@cache
def bundled_thresholds(fingerprint: str) -> Mapping[str, Any]:
    """Give the thresholds that the bundled encoder publishes, by field, if it is that very one.

    What was built with it earlier may know fewer of them.

    Raises:
        IndexFormatError: its config is damaged.
    """
    if not (BUNDLED / CONFIG_NAME).is_file():
        return {}
    document = _read_config(BUNDLED)
    if document["fingerprint"] != fingerprint:
        return {}
    return {name: document[name] for name in THRESHOLD_FIELDS}


def bundled_encoder() -> Path:
    """Locate the encoder that ships with the package.

    Raises:
        InputError: it is not there.
    """
    if not (BUNDLED / CONFIG_NAME).is_file():
        raise InputError(
            "no encoder lies in this package; pass --encoder DIR or install histo-index anew"
        )
    return BUNDLED


def fingerprint_of(config: EncoderConfig, weights: Weights) -> str:
    """Hash everything that decides the numbers an encoder gives.

    Returns:
        32 hex digits over architecture, preprocessing, pooling, and every weight with its name and
        type.
    """
    digest = hashlib.sha256()
    recipe = {
        "architecture": config.architecture,
        "pooling": config.pooling,
        "preprocessing": asdict(config.preprocessing),
    }
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
    stored, found = document.pop("checksum", None), _checksum(document)
    if found != stored or not isinstance(version, int) or version < 1:
        raise IndexFormatError(
            f"{path}: damaged: checksum {found}, expected {stored}; restore the file"
        )
    return document


def _checksum(document: Mapping[str, Any]) -> str:
    """Hash everything that stands in the config; the fingerprint covers what decides numbers."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _config_from(document: dict[str, Any]) -> EncoderConfig:
    thresholds = {name: document[name] for name in THRESHOLD_FIELDS}
    return EncoderConfig(
        architecture=document["architecture"],
        pooling=document["pooling"],
        preprocessing=Preprocessing(**document["preprocessing"]),
        training=dict(document["training"]),
        mpp=document["mpp"],
        **{name: PublishedThreshold(**own) if own else None for name, own in thresholds.items()},
    )
