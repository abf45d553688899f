"""What a build is asked for, how far it is, and what it did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from histo_index.errors import InputError
from histo_index.indexer.format.records import SearchConfig
from histo_index.indexer.hashing.tiles import SETTLED_NS
from histo_index.indexer.inputs.slides import CutSlides
from histo_index.indexer.private import PrivateColumns
from histo_index.indexer.runner import Runner
from histo_index.indexer.sources.choose_sources import NamedSources
from histo_index.indexer.transform.transform import require_distance
from histo_index.slides.tiling.options import SlideSource


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What to build.

    Attributes:
        sources: folders, image files, or one manifest; empty to bring all that the index remembers
            up to date.
        output: the index folder, created if missing.
        manifest: a list of tiles with their metadata; see `list_tiles`.
        add: add what is named to the sources of the index.
        replace: make what is named the only source of the index.
        no_manifest: list folders without the manifest that is remembered, and drop its columns.
        drop_missing_source: drop the tiles of sources that are missing, unreadable or empty.
        allow_drop: go on even if more than half of the tiles leave the index.
        shard_rows: tiles per shard; None is the index's own, in a first build by a measured rate.
        retry_rejected: try again what an earlier build could not use.
        rehash: read every tile again, also one whose size and times are as they were.
        search: how the index is to be searched; None is as it was, by its size in a first build.
        distance: `diffused` or `plain`; None is as it was, at first by the encoder.
        settled_ns: the next build reads files again that changed less long before this one.
        private: which columns become private or public; the others stay as they were.
        slides: how slides are cut into tiles; None is as remembered.
        cut_slides: cuts them; needed where a source has slides.
        runner: carries out the shard tasks; None is this process.
    """

    sources: Sequence[Path]
    output: Path
    manifest: Path | None = None
    add: bool = False
    replace: bool = False
    no_manifest: bool = False
    drop_missing_source: bool = False
    allow_drop: bool = False
    shard_rows: int | None = None
    retry_rejected: bool = False
    rehash: bool = False
    settled_ns: int = SETTLED_NS
    search: SearchConfig | None = None
    distance: str | None = None
    private: PrivateColumns = field(default_factory=PrivateColumns)
    slides: SlideSource | None = None
    cut_slides: CutSlides | None = None
    runner: Runner | None = None

    def __post_init__(self) -> None:
        require_distance(self.distance)
        if self.shard_rows is not None and not 1 <= self.shard_rows <= 1_000_000:
            raise InputError(f"shard_rows is {self.shard_rows}; expected 1 to 1,000,000")

    @property
    def named(self) -> NamedSources:
        """What the user named, and how it is meant."""
        return NamedSources(
            paths=self.sources,
            manifest=self.manifest,
            add=self.add,
            replace=self.replace,
            no_manifest=self.no_manifest,
            slides=self.slides,
            drop_missing=self.drop_missing_source,
        )

    @property
    def is_dropping_meant(self) -> bool:
        """Whether the user asked for tiles to leave the index."""
        return self.allow_drop or self.replace or self.drop_missing_source


@dataclass(kw_only=True)
class BuildProgress:
    """How far a build has come.

    Attributes:
        stage: `hashing`, `encoding` or `committing`.
        total: tiles of this stage.
        done: of them dealt with.
        counts: `encoded`, `copied`, `rejected` tiles so far.
        unit: what is counted.
    """

    stage: str
    total: int
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    unit: str = "images"


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did.

    Attributes:
        index: the index folder.
        generation: the committed state.
        tiles: N, now in the index.
        encoded: tiles that went through the encoder.
        reused: tiles whose embedding was there already.
        dropped: tiles of the generation before, by image_id, that are in the index no longer.
        rejected: kind of reason to number of inputs.
        rejected_file: the list of them, relative to the index.
        left_out: reason to number of tiles that were not taken in, because they were removed.
        ignored: files that are no images by their name.
        shards_written: how many shard files this run wrote.
        seconds: wall time.
        bytes: size of the index on disk.
    """

    index: Path
    generation: int
    tiles: int
    encoded: int
    reused: int
    dropped: int
    rejected: Mapping[str, int]
    rejected_file: str
    left_out: Mapping[str, int]
    ignored: int
    shards_written: int
    seconds: float
    bytes: int

    @property
    def images_per_second(self) -> float:
        """Encoded tiles by wall time, everything included."""
        return self.encoded / self.seconds if self.seconds > 0 else 0.0
