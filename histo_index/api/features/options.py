"""What an import is asked for, and what it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histo_index.errors import InputError

if TYPE_CHECKING:
    from histo_index.api.features.verify import Verification
    from histo_index.indexer.format.records import SearchConfig


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """How features are imported. An index remembers inputs, slides, scales and metadata.

    Attributes:
        slides: folder of the slides; gives their scales, and paths that tiles are read by.
        slide_mpp: name of a slide to microns per level-0 pixel.
        encoder_name: what the encoder is called, or which of those in the files is imported.
        encoder: an encoder folder that the features are verified by.
        metadata: table with the column `slide` or `image_id`.
        distance: `diffused` or `plain`; None is as it was, at first diffused from 100 tiles on.
        search: how the index is searched; None is as it was, at first by its size.
        private: columns that are shown only on request.
        add: add what is named to the inputs of an index that exists.
        replace: make what is named its only input.
        allow_drop: go on even if more than half of its tiles are dropped.
    """

    slides: Path | None = None
    slide_mpp: Mapping[str, float] | None = None
    encoder_name: str | None = None
    encoder: Path | None = None
    metadata: Path | None = None
    distance: str | None = None
    search: "SearchConfig | None" = None
    private: Sequence[str] = ()
    add: bool = False
    replace: bool = False
    allow_drop: bool = False

    def __post_init__(self) -> None:
        if self.add and self.replace:
            raise InputError("--add and --replace contradict each other; pass one of them")


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        index: the index folder.
        tiles: N.
        slides: how many slides they are of; 0 where rows brought their own ids.
        tools: program to the number of its matrices.
        read: how many of the matrices were read now; the others are as they were.
        encoder: what the embeddings are called.
        size: D.
        status: what is known of the encoder.
        rejected: kind of reason to number of inputs.
        reasons: each input that was rejected, a line each.
        ignored: files of other kinds, and copies.
        seconds: wall time.
        verification: the comparison with the given encoder; None without one.
    """

    index: Path
    tiles: int
    slides: int
    tools: Mapping[str, int]
    read: int
    encoder: str
    size: int
    status: str
    rejected: Mapping[str, int]
    reasons: tuple[str, ...]
    ignored: int
    seconds: float
    verification: "Verification | None" = None
