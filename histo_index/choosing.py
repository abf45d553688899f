"""Which encoder answers: the one given, the index's own, or the one that ships with the package."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_index.errors import MismatchError
from histo_index.indexer.manifest import MANIFEST_NAME, Manifest, read_manifest

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder

_log = logging.getLogger(__name__)


def encoder_for(folder: Path, given: Path | None, **options: Any) -> "Encoder":
    """Choose the encoder of a build: the one given, else the index's own, else the bundled one."""
    from histo_index.encoder.encoder import open_encoder
    from histo_index.encoder.folder import bundled_encoder

    if given is None and (folder / MANIFEST_NAME).exists():
        return own_encoder(folder, read_manifest(folder), **options)
    return open_encoder(given or bundled_encoder(), **options)


def warn_if_untrained(folder: Path, card: Mapping[str, Any]) -> None:
    """Say once that distances of an untrained encoder say little."""
    if not card["is_trained"]:
        _log.warning("%s is untrained: its distances say little; train or import one", folder)


def own_encoder(folder: Path, manifest: Manifest, **options: Any) -> "Encoder":
    """Open the encoder inside an index, as the index was built with it.

    Raises:
        MismatchError: it is not the one that the index was built with.
    """
    from histo_index.encoder.encoder import open_encoder

    if manifest.encoder["is_int8"] and options.get("precision", "auto") == "auto":
        options["precision"] = "int8"
    encoder = open_encoder(folder / "encoder", **options)
    if encoder.fingerprint != manifest.fingerprint:
        raise MismatchError(
            f"{folder} was built by encoder {manifest.fingerprint} but encoder/ in it is "
            f"{encoder.fingerprint}; restore the encoder folder or build into a new index"
        )
    return encoder
