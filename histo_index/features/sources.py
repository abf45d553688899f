"""Turn the stream of a child into the sources of a build: named rows, the unusable ones named."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.features.choose import Chosen
from histo_index.features.containers.own_columns import IDS
from histo_index.features.metadata import Metadata
from histo_index.features.reading.blocks import Block, read_block
from histo_index.features.reading.frames import Frame
from histo_index.features.reading.process import run_jobs
from histo_index.features.tiles import FILE, SlideTiles, fill_columns, slide_rows
from histo_index.indexer.declared.shard_writer import GivenRows
from histo_index.indexer.format.shards import Rejection
from histo_index.wording import printable

_MOST_NAMED: Final = 20
_NO_ID: Final = "no image_id"
_TWICE: Final = "image_id that is there already"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A matrix, and what is known of its tiles.

    Attributes:
        chosen: the matrix.
        key: what its rows are recognised by in the index: the column `features_file`.
        tiles: its slide; None where rows bring their own image ids.
    """

    chosen: Chosen
    key: str
    tiles: SlideTiles | None = None


def stream_sources(
    jobs: Sequence[Job],
    schema: pa.Schema,
    metadata: Metadata,
    taken: Iterable[str] = (),
    usable: dict[str, int] | None = None,
) -> Iterator["FeatureSource"]:
    """Read the matrices, one source each, in one child process after the other.

    Args:
        jobs: what to read.
        schema: the columns of the index.
        metadata: of slides or tiles.
        taken: image ids that are in the index already.
        usable: gets, by key, how many rows of each matrix that was read can be used.
    """
    usable = {} if usable is None else usable
    asked = [
        {
            "path": job.chosen.facts.path,
            "part": job.chosen.facts.part,
            "places": job.chosen.places,
        }
        for job in jobs
    ]
    # Slides differ in their names; rows with ids of their own may repeat any.
    seen = {hash(name) for name in taken} if any(job.tiles is None for job in jobs) else None
    for number, frames in groupby(run_jobs("stream", asked), key=lambda frame: frame.job):
        yield FeatureSource(
            job=jobs[number], frames=frames, schema=schema, metadata=metadata, usable=usable,
            seen=seen,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FeatureSource:
    """The rows of one matrix."""

    job: Job
    frames: Iterable[Frame]
    schema: pa.Schema
    metadata: Metadata
    usable: dict[str, int]
    seen: set[int] | None

    @property
    def name(self) -> str:
        return self.job.chosen.facts.path

    def blocks(self) -> Iterator[GivenRows]:
        facts = self.job.chosen.facts
        bad: dict[str, list[int]] = {}
        done, own = 0, set[int]()
        for frame in self.frames:
            if frame.kind == "error":
                raise InputError(str(frame.values.get("message")))
            if frame.kind != "rows":
                continue
            block = read_block(frame, facts, done)
            done += len(block.table)
            yield self._name(block, bad, own)
        if done != facts.rows:
            raise InputError(f"{self.name}: {facts.rows:,} rows before, {done:,} now")
        if self.seen is not None:
            self.seen.update(own)
        self.usable[self.job.key] = done - sum(len(numbers) for numbers in bad.values())
        entries = [_describe(self.name, reason, n, done) for reason, n in bad.items() if n]
        if entries:
            yield GivenRows(
                tiles=self.schema.empty_table(),
                embeddings=np.zeros((0, facts.size), np.float16),
                rejected=tuple(entries),
            )

    def _name(self, block: Block, bad: dict[str, list[int]], own: set[int]) -> GivenRows:
        """Give the rows of a block their names and columns; note those that cannot be used."""
        rows = block.table
        if self.job.tiles is not None:
            rows = slide_rows(rows, self.job.tiles)
        keep = np.ones(len(rows), bool)
        for reason, numbers in block.bad.items():
            bad.setdefault(reason, []).extend(numbers)
            keep[np.array(numbers, np.int64) - block.start] = False
        if self.seen is not None:
            self._find_repeats(rows, keep, block.start, bad, own)
        embeddings = block.embeddings
        if not keep.all():
            rows, embeddings = rows.filter(pa.array(keep)), embeddings[keep]
        file = pa.repeat(pa.scalar(self.job.key, pa.string()), len(rows))
        rows = self.metadata.join(rows.append_column(FILE, file))
        return GivenRows(tiles=fill_columns(rows, self.schema), embeddings=embeddings)

    def _find_repeats(
        self, rows: pa.Table, keep: Bools, start: int, bad: dict[str, list[int]], own: set[int]
    ) -> None:
        """Leave out rows without an id, and with one that is there already."""
        assert self.seen is not None
        names = pc.fill_null(rows[IDS], "").to_pylist()
        for row, name in enumerate(names):
            number = hash(name)
            reason = _NO_ID if not name.strip() else None
            if number in own or number in self.seen:
                reason = reason or _TWICE
            if not keep[row]:
                continue
            if reason is None:
                own.add(number)
            else:
                keep[row] = False
                bad.setdefault(reason, []).append(start + row)


def _describe(path: str, reason: str, numbers: list[int], rows: int) -> Rejection:
    shown = ", ".join(_ranges(numbers)[:_MOST_NAMED])
    more = " and more" if len(_ranges(numbers)) > _MOST_NAMED else ""
    text = f"{reason}: {len(numbers):,} of {rows:,} rows: {shown}{more}"
    return Rejection(path=path, reason=printable(text))


def _ranges(numbers: list[int]) -> list[str]:
    """Write ascending numbers as ranges: 3, 5–9."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(a) if a == b else f"{a}–{b}" for a, b in found]
