"""An encoder that is known by name only, and the embeddings it gave."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from histo_index.arrays import Float16
from histo_index.errors import ImageError, InputError
from histo_index.indexer.encoder_protocol import Encoded
from histo_index.indexer.format.records import DeclaredEncoder, EncoderCard
from histo_index.wording import printable

# No image is ever decoded; the format wants a limit.
_MAX_PIXELS: Final = 64_000_000
_MOST_LETTERS: Final = 200


@dataclass(frozen=True, kw_only=True)
class GivenTile:
    """A tile that came with its embedding.

    Attributes:
        embedding: float16 [D], of unit length.
        sha256: over the bytes of the embedding: tiles of equal embeddings are copies.
    """

    embedding: Any
    sha256: str
    width: int | None = None
    height: int | None = None
    note: str | None = None


class DeclaredRuntime:
    """The part of a declared encoder in a build: it names itself and encodes nothing."""

    max_pixels = _MAX_PIXELS

    def __init__(self, name: str, *, size: int, folder: Path) -> None:
        """Declare an encoder.

        Args:
            name: what the user calls it.
            size: D, the length of its embeddings.
            folder: where its files would be in the index.

        Raises:
            InputError: the name is empty or longer than 200 characters.
        """
        if not 0 < len(name.strip()) <= _MOST_LETTERS:
            raise InputError(
                f"encoder {printable(name)[:80]!r}: expected a name of 1 to {_MOST_LETTERS} letters"
            )
        self.name, self.embedding_size, self.folder = name.strip(), size, folder
        identity = f"declared {size} {self.name}"
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:32]

    def card(self) -> Mapping[str, Any]:
        return asdict(
            EncoderCard(
                fingerprint=self.fingerprint,
                architecture="declared",
                embedding_size=self.embedding_size,
                is_trained=True,
                mpp=None,
                threshold=None,
                diffused_threshold=None,
                licence=None,
                declared=DeclaredEncoder(name=self.name),
            )
        )

    def describe(self) -> Mapping[str, str]:
        return {"name": "declared", "device": "unknown", "precision": "unknown"}

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Encoded | ImageError]:
        raise AssertionError("a declared encoder encodes nothing")


def content_of(embedding: Float16) -> str:
    """Hash an embedding as it is stored: hex SHA-256."""
    return hashlib.sha256(embedding.tobytes()).hexdigest()
