"""An encoder that is known by name only."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from histo_index.errors import ImageError, InputError
from histo_index.indexer.encoder_protocol import Encoded
from histo_index.indexer.format.encoder_card import DeclaredEncoder, EncoderCard
from histo_index.wording import printable

# No image is ever decoded; the format wants a limit.
_MAX_PIXELS: Final = 64_000_000
_MOST_LETTERS: Final = 200


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
