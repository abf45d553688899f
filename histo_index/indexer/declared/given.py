"""Embeddings that another program computed, and where their index goes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from histo_index.indexer.declared.shard_writer import GivenRows
from histo_index.indexer.declared.stored import Stored
from histo_index.indexer.format.records import (
    FileRecord,
    SearchConfig,
)
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.transform.transform import require_distance


class GivenSource(Protocol):
    """Tiles of one file, with their embeddings.

    Attributes:
        name: of the file, for the list of what was rejected.
    """

    @property
    def name(self) -> str: ...

    def blocks(self) -> Iterable[GivenRows]:
        """Read the rows, block by block.

        Raises:
            InputError: the file cannot be used after all; rows that were read do not count.
        """


@dataclass(frozen=True, kw_only=True)
class GivenEmbeddings:
    """What an index is built from.

    Attributes:
        encoder: what the user calls the encoder.
        size: D, the length of an embedding.
        sources: the tiles; each is read once, in order.
        rejected: inputs that were not even read.
        total: how many tiles there are, for reports of progress.
        stored: which rows of the index stay; None in a first build.
        remember: writes what the next import needs: folder, generation and what was rejected, to
            role and file.
    """

    encoder: str
    size: int
    sources: Iterable[GivenSource]
    rejected: tuple[Rejection, ...] = ()
    total: int | None = None
    stored: Stored | None = None
    remember: Callable[[Path, int, Sequence[Rejection]], Mapping[str, FileRecord]] = (
        lambda folder, generation, rejected: {}
    )


@dataclass(frozen=True, kw_only=True)
class DeclaredConfig:
    """Where and how an index is built from embeddings.

    Attributes:
        output: the index folder.
        root: the folder that paths of tiles start from; None is the working directory.
        distance: `diffused` or `plain`; None is diffused.
        search: how the index is to be searched; None chooses by its size.
        private: columns that are private.
    """

    output: Path
    root: Path | None = None
    distance: str | None = None
    search: SearchConfig | None = None
    private: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        require_distance(self.distance)
