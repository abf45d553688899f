"""The interface of an encoder to a build; the indexer uses nothing else of it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from histo_index.arrays import Float32
from histo_index.errors import ImageError


class Encoded(Protocol):
    """A tile that was encoded: float32 [D] of length 1, and what was learnt while reading it."""

    @property
    def embedding(self) -> Float32: ...
    @property
    def sha256(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def note(self) -> str | None: ...


class Encode(Protocol):
    """An encoder as a build sees it."""

    @property
    def fingerprint(self) -> str:
        """What embeddings must share to be compared."""

    @property
    def embedding_size(self) -> int:
        """D."""

    @property
    def max_pixels(self) -> int:
        """The decoding limit, which decides what is rejected."""

    @property
    def folder(self) -> Path:
        """Where its files lie; the index keeps a copy."""

    def card(self) -> Mapping[str, Any]:
        """Describe the encoder: the fields of `EncoderCard`. Loads nothing."""

    def describe(self) -> Mapping[str, str]:
        """Describe what computes the embeddings: name of the runtime, device, precision."""

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Encoded | ImageError]:
        """Encode image files: one result per path, in order, lazily, in flat memory.

        A file that cannot be used comes back as its ImageError. The same file always gives the
        same embedding, whatever else is in the stream.
        """
