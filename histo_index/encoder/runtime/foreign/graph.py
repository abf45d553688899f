"""A foreign network as an OpenVINO model; of torch it is converted once and kept for the user.

A converted model is derived: named by the fingerprint of its encoder and the version of OpenVINO,
compared with its checksum, and converted again where it is missing or damaged.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.folder import EncoderFolder
from histo_index.encoder.foreign import CUSTOM, ONNX
from histo_index.encoder.runtime.openvino_import import ov

_log = logging.getLogger(__name__)

# The environment variable that names the folder of converted models; empty keeps none.
CACHE: Final = "HISTO_INDEX_CACHE"
_MODEL: Final = "model.xml"
_FILES: Final = (_MODEL, "model.bin")
_CHECKSUM: Final = "checksum"


def build_foreign_graph(encoder: EncoderFolder) -> Any:
    """Build an OpenVINO model: uint8 [1, S, S, 3] in, float32 [1, D] out.

    Raises:
        InputError: the library that defines the network is not installed, and no converted model is
            kept.
        MismatchError: weights and network do not fit, or OpenVINO cannot run it.
    """
    config = encoder.config
    assert config.foreign is not None
    if config.foreign.source == ONNX:
        from histo_index.encoder.runtime.foreign.onnx_graph import build_onnx_graph

        return build_onnx_graph(config, encoder.weights)

    def convert() -> Any:
        from histo_index.encoder.runtime.foreign.torch_network import convert_network

        return convert_network(config, encoder.weights)

    # Code of the user is asked for each time. While it is imported, an encoder has no fingerprint.
    if config.foreign.source == CUSTOM or not encoder.fingerprint:
        return convert()
    return _convert_once(encoder.fingerprint, convert)


def _convert_once(fingerprint: str, convert: Callable[[], Any]) -> Any:
    """Read the converted model of an encoder, or convert and keep it.

    The model is always one that was read from files: as it leaves the conversion, OpenVINO computes
    other last bits with it.
    """
    name = f"{fingerprint}-openvino-{ov.__version__.split('-')[0]}"
    folder = cache_folder()
    model = None if folder is None else _read(folder / name)
    if model is not None:
        return model
    converted = convert()
    if folder is not None:
        _keep(folder / name, converted)
        model = _read(folder / name)
    if model is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            model = _write(converted, Path(scratch) / name)
    return model


def cache_folder() -> Path | None:
    """Return the folder of converted models; None to keep none."""
    chosen = os.environ.get(CACHE)
    if chosen is not None:
        return Path(chosen) if chosen else None
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no home
        return None
    return Path(base) / "histo-index"


def _read(kept: Path) -> Any:
    """Read a converted model; None if it is missing or damaged."""
    try:
        if (kept / _CHECKSUM).read_text() != _checksum(kept):
            return None
        return ov.Core().read_model(kept / _MODEL)
    except (OSError, ValueError, RuntimeError):
        return None


def _keep(kept: Path, model: Any) -> None:
    """Write a converted model whole or not at all; failures only cost the time to convert again."""
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kept.parent) as scratch:
            new = Path(scratch) / kept.name
            _write(model, new)
            (new / _CHECKSUM).write_text(_checksum(new))
            shutil.rmtree(kept, ignore_errors=True)
            os.rename(new, kept)
    except (OSError, RuntimeError) as error:
        _log.info("%s: the converted network is not kept (%s)", kept, error)


def _write(model: Any, folder: Path) -> Any:
    """Write a model into a new folder, and read it."""
    folder.mkdir()
    ov.serialize(model, folder / _MODEL)
    return ov.Core().read_model(folder / _MODEL)


def _checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
