"""Record that an encoder reproduces the embeddings of an index."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from histo_index.errors import InputError
from histo_index.indexer.format.encoder_card import EncoderCard, VerifiedEncoder
from histo_index.indexer.format.manifest import Manifest, write_manifest
from histo_index.indexer.format.records import read_record
from histo_index.indexer.writing.commit import changing
from histo_index.indexer.writing.folder import copy_encoder


def store_verified(
    folder: Path, encoder: Path, card: Mapping[str, Any], record: VerifiedEncoder
) -> Manifest:
    """Copy an encoder into an index that was made from embeddings, as a new generation.

    Rows, vectors and the fingerprint of the embeddings stay. From here on new images are encoded.

    Args:
        folder: the index.
        encoder: the encoder folder.
        card: its description, the fields of `EncoderCard`.
        record: how it was verified.

    Raises:
        InputError: the index was not made from embeddings.
        LockedError: another process is writing the index.
        OSError: the disk is full or not writable.
    """
    with changing(folder) as current:
        require_declared(folder, current)
        assert current.encoder.declared is not None
        files = copy_encoder(encoder, folder)
        described = read_record(EncoderCard, dict(card))
        manifest = replace(
            current,
            generation=current.generation + 1,
            encoder=replace(
                described,
                fingerprint=current.fingerprint,
                declared=replace(current.encoder.declared, verified=record),
            ),
            files={**current.files, **files},
        )
        write_manifest(folder, manifest)
        return manifest


def require_declared(folder: Path, manifest: Manifest) -> None:
    """Check that an index was made from embeddings.

    Raises:
        InputError: it encoded its tiles itself.
    """
    if manifest.encoder.declared is None:
        raise InputError(f"{folder} encoded its tiles itself: there is nothing to verify")
