"""Keep converted networks for the next start, the least recently used ones not for ever.

A converted network is derived: named by the fingerprint of its encoder and the version of OpenVINO,
compared with its checksum, and converted again where it is missing or damaged.
"""

import hashlib
import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from histo_index.encoder.runtime.openvino_import import ov

# The environment variable that names the folder of converted networks; empty keeps none.
CACHE: Final = "HISTO_INDEX_CACHE"
# Of all converted networks together; the largest published encoders take 4.5 GB each.
MOST_BYTES: Final = 20 * 10**9
_MODEL: Final = "model.xml"
_FILES: Final = (_MODEL, "model.bin")
_CHECKSUM: Final = "checksum"
_NAME: Final = re.compile(r"[0-9a-f]{8,64}-openvino-[0-9.]+")

_log = logging.getLogger(__name__)


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


def read_kept(kept: Path) -> Any:
    """Read a converted network, and note its use; None if it is missing or damaged."""
    try:
        if (kept / _CHECKSUM).read_text() != _checksum(kept):
            return None
        with suppress(OSError):  # a folder that others may only read
            os.utime(kept / _CHECKSUM)
        return ov.Core().read_model(kept / _MODEL)
    except (OSError, ValueError, RuntimeError):
        return None


def keep(kept: Path, model: Any) -> None:
    """Write a converted network whole or not at all; a failure costs converting it again."""
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kept.parent) as scratch:
            new = Path(scratch) / kept.name
            write_and_read(model, new)
            (new / _CHECKSUM).write_text(_checksum(new))
            shutil.rmtree(kept, ignore_errors=True)
            os.rename(new, kept)
        trim(kept.parent, newest=kept.name)
    except (OSError, RuntimeError) as error:
        _log.info("%s: the converted network is not kept (%s)", kept, error)


def trim(folder: Path, *, newest: str, most_bytes: int = MOST_BYTES) -> None:
    """Remove the networks whose last use is longest ago, until the others fit.

    Args:
        folder: of converted networks; other things in it are left alone.
        newest: the name of one that stays.
        most_bytes: what all together may take.
    """
    used = []
    for kept in folder.iterdir():
        if _NAME.fullmatch(kept.name) and kept.name != newest:
            with suppress(OSError):  # another process removed it
                size = sum(path.stat().st_size for path in kept.iterdir())
                used.append(((kept / _CHECKSUM).stat().st_mtime_ns, size, kept))
    total = sum(path.stat().st_size for path in (folder / newest).iterdir())
    for _, size, kept in sorted(used, reverse=True):
        total += size
        if total > most_bytes:
            shutil.rmtree(kept, ignore_errors=True)


def write_and_read(model: Any, folder: Path) -> Any:
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
