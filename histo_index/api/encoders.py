"""Open encoders: the given one, that of the index, or the bundled one."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_index.errors import IndexFormatError, InputError, MismatchError
from histo_index.indexer.format.encoder_card import ThresholdRecord
from histo_index.indexer.format.manifest import MANIFEST_NAME, Manifest, read_manifest
from histo_index.indexer.format.records import PLAIN, THRESHOLDS, read_record
from histo_index.wording import printable

if TYPE_CHECKING:
    from histo_index.encoder.encoder import Encoder
    from histo_index.encoder.importing.options import ImportOptions

_log = logging.getLogger(__name__)


def open_encoder(folder: str | Path | None = None, *, device: str = "auto") -> "Encoder":
    """Open an encoder, to embed images without an index.

    Args:
        folder: the encoder folder; default: the bundled encoder.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        InputError: no encoder is given and none is bundled, or there is no such device.
        IndexFormatError: the folder is damaged or too new.
    """
    from histo_index.encoder.encoder import open_encoder as open_folder
    from histo_index.encoder.folder import bundled_encoder

    return open_folder(Path(folder) if folder else bundled_encoder(), device=device)


def import_encoder(
    source: str | Path, output: str | Path, options: "ImportOptions | None" = None
) -> str:
    """Import an encoder of another library as an encoder folder; nothing is downloaded.

    Args:
        source: `timm:NAME` (with `weights`), `timm:DIR`, `hf:DIR`, `onnx:FILE`, or a torchvision
            checkpoint.
        output: a new encoder folder.
        options: what the source does not say, such as features and licence.

    Returns:
        The fingerprint.

    Raises:
        InputError: source, options or output cannot be used, or an extra is not installed.
        MismatchError: the weights are of another network, or the fast runtime does not compute
            what the reference computes.
    """
    from histo_index.encoder.create import import_encoder as import_checkpoint
    from histo_index.encoder.importing.foreign import import_foreign
    from histo_index.encoder.importing.options import ImportOptions, refuse_unused
    from histo_index.encoder.importing.sources import require_checkpoint, split_source

    given = options or ImportOptions()
    if split_source(str(source)) is not None:
        return import_foreign(str(source), Path(output), given)
    require_checkpoint(Path(source))
    refuse_unused(given, None)
    return import_checkpoint(
        Path(source), Path(output), arch=given.architecture, pooling=given.pooling,
        threshold=given.threshold, mpp=given.mpps[0] if given.mpps else None,
        overwrite=given.overwrite,
    )  # fmt: skip


def encoder_for(folder: Path, given: Path | None, **options: Any) -> "Encoder":
    """Open the encoder of a build: the given one, else that of the index, else the bundled one.

    Args:
        folder: the index, which need not exist.
        given: an encoder folder.
        options: `device`, `precision`, `limits` as for `open_encoder`; the default of `limits` is
            that of the index.

    Raises:
        InputError: an option cannot be used, no encoder is bundled, or the index was made from
            embeddings.
        MismatchError: the encoder is not the one that the index was built with.
        IndexFormatError: index or encoder are damaged or too new.
    """
    from histo_index.encoder.decode.image_file import DecodeLimits
    from histo_index.encoder.encoder import open_encoder
    from histo_index.encoder.folder import bundled_encoder

    if (folder / MANIFEST_NAME).exists():
        manifest = read_manifest(folder)
        if manifest.encoder.declared is not None:
            name = printable(manifest.encoder.declared.name)
            raise InputError(
                f"{folder} was made from embeddings of {name}, and `build` does not add to it; "
                "import again, or build the tiles, into a new folder"
            )
        if options.get("limits") is None:
            options["limits"] = DecodeLimits(max_pixels=manifest.settings.max_pixels)
        if given is None:
            return own_encoder(folder, manifest, **options)
    return open_encoder(given or bundled_encoder(), **options)


def published_threshold(manifest: Manifest) -> ThresholdRecord | None:
    """Return the threshold published with the encoder for the distance of an index, or None.

    Raises:
        IndexFormatError: the bundled encoder is damaged.
    """
    known = manifest.encoder.threshold_for(manifest.distance_kind)
    if known is not None or manifest.distance_kind == PLAIN:  # every index stores this one
        return known
    # Imported here: it brings the weights' library.
    from histo_index.encoder.folder import bundled_thresholds

    found = bundled_thresholds(manifest.fingerprint).get(THRESHOLDS[manifest.distance_kind])
    return read_record(ThresholdRecord, found) if found else None


def warn_if_untrained(folder: Path, *, is_trained: bool) -> None:
    """Log a warning if the encoder is untrained."""
    if not is_trained:
        _log.warning("%s is untrained: its distances mean little; train or import one", folder)


def no_encoder(folder: Path, manifest: Manifest) -> str | None:
    """Return why an index cannot encode images; None if it can."""
    declared = manifest.encoder.declared
    if declared is None or declared.verified is not None:
        return None
    return (
        f"{folder} was made from embeddings of {printable(declared.name)} and has no encoder, so "
        "it encodes no image: ask about its own tiles, by image id, or verify an encoder with "
        "`histo-index encoder verify`"
    )


def own_encoder(folder: Path, manifest: Manifest, **options: Any) -> "Encoder":
    """Open the encoder inside an index.

    Raises:
        InputError: the index was made from embeddings.
        MismatchError: the index was built by another encoder.
        IndexFormatError: the index was removed after it was opened.
    """
    from histo_index.encoder.encoder import open_encoder

    if reason := no_encoder(folder, manifest):
        raise InputError(reason)
    if not folder.is_dir():
        raise IndexFormatError(
            f"{folder}: removed after it was opened, so no new image can be encoded; "
            "query indexed tiles, or open another index"
        )
    encoder = open_encoder(folder / "encoder", **options)
    declared = manifest.encoder.declared
    verified = declared.verified if declared else None
    expected = verified.fingerprint if verified else manifest.fingerprint
    if encoder.fingerprint != expected:
        raise MismatchError(
            f"{folder} was built by encoder {expected} but encoder/ in it is "
            f"{encoder.fingerprint}; restore the encoder folder or build into a new index"
        )
    return encoder
