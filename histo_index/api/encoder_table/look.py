"""Look into encoder folders: what they are, and whether they compute what they did at import."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histo_index.errors import HistoIndexError, InputError


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """What an encoder folder says about itself.

    Attributes:
        facts: name to value, for people.
        agreement: of each runtime of this machine, the lowest cosine to the embeddings stored at
            import; empty if that was not asked for.
    """

    facts: dict[str, Any]
    agreement: dict[str, float]


def list_encoders(folder: str | Path = ".") -> list[dict[str, Any]]:
    """List the bundled encoder and the encoder folders in a folder.

    Returns:
        For each `path`, `network`, `size`, `licence` and `fingerprint`.

    Raises:
        InputError: there is no such folder.
    """
    from histo_index.encoder.folder import BUNDLED

    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; pass one that holds encoder folders")
    others = sorted(Path(folder).glob("*/"))
    return list(_lines({"bundled": BUNDLED} | {str(other): other for other in others}))


def _lines(folders: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    from histo_index.encoder.folder import read_config

    for name, folder in folders.items():
        try:
            config, fingerprint = read_config(folder)
        except HistoIndexError:
            continue  # another folder
        yield {
            "path": name,
            "network": config.architecture,
            "features": config.pooling,
            "size": config.embedding_size,
            "licence": config.licence,
            "fingerprint": fingerprint,
        }


def look_into(folder: str | Path, *, verify: bool = False) -> EncoderInfo:
    """Describe an encoder folder.

    Args:
        folder: the encoder folder; `bundled` is the bundled one.
        verify: also read the weights and encode the self-test tiles on every runtime that this
            machine has.

    Raises:
        IndexFormatError: the folder is damaged or too new.
        InputError: an extra that the network needs is not installed.
        MismatchError: a runtime does not compute what it computed at import.
    """
    from histo_index.encoder.folder import bundled_encoder, read_config

    path = bundled_encoder() if str(folder) == "bundled" else Path(folder)
    config, fingerprint = read_config(path)
    foreign = config.foreign
    facts: dict[str, Any] = {
        "encoder": folder,
        "network": config.architecture,
        "features": config.pooling,
        "size": config.embedding_size,
        "fingerprint": fingerprint,
        "preprocessing": vars(config.preprocessing),
        "mpp": (list(foreign.mpps) if foreign else None) or config.mpp,
        "licence": config.licence,
        "training": dict(config.training),
    }
    if foreign is not None:
        copies = "no: an index refers to the weights" if foreign.is_gated else "yes"
        facts |= {
            "copied into an index": copies,
            "revision": foreign.revision,
            "agreement at import": dict(foreign.cosines),
        }
    return EncoderInfo(facts=facts, agreement=_verify(path) if verify else {})


def _verify(folder: Path) -> dict[str, float]:
    from histo_index.encoder.folder import load_encoder
    from histo_index.encoder.runtime.foreign.start import verify_runtimes

    return verify_runtimes(load_encoder(folder))
