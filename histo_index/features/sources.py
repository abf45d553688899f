"""Turn the stream of a child into the sources of a build: named rows, the unusable ones named."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histo_index.arrays import Bools
from histo_index.errors import InputError
from histo_index.features.choose import Chosen
from histo_index.features.containers.own_columns import IDS
from histo_index.features.reading.frames import Frame
from histo_index.features.reading.process import run_jobs
from histo_index.features.tiles import SlideTiles, fill_columns, slide_rows
from histo_index.indexer.declared.shard_writer import GivenRows
from histo_index.indexer.format.shards import Rejection
from histo_index.wording import printable

# float16 bits of infinities and NaN.
_EXPONENT: Final = 0x7C00
_MOST_NAMED: Final = 20
_NO_ID: Final = "no image_id"
_TWICE: Final = "image_id that is there already"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A matrix, and what is known of its tiles.

    Attributes:
        chosen: the matrix.
        tiles: its slide; None where rows bring their own image ids.
        metadata: image id to its columns, for rows with their own ids.
    """

    chosen: Chosen
    tiles: SlideTiles | None = None


@dataclass(frozen=True, kw_only=True)
class OwnMetadata:
    """Metadata of rows that bring their own image ids.

    Attributes:
        table: the columns.
        rows: image id to its row.
    """

    table: pa.Table = field(default_factory=lambda: pa.table({}))
    rows: Mapping[str, int] = field(default_factory=dict)


def stream_sources(
    jobs: Sequence[Job], schema: pa.Schema, metadata: OwnMetadata
) -> Iterator["FeatureSource"]:
    """Read the matrices, one source each, in one child process after the other.

    Args:
        jobs: what to read.
        schema: the columns of the index.
        metadata: of rows with their own ids.
    """
    asked = [
        {
            "path": job.chosen.facts.path,
            "part": job.chosen.facts.part,
            "places": job.chosen.places,
        }
        for job in jobs
    ]
    # Slides differ in their names; rows with ids of their own may repeat any.
    seen: set[int] | None = set() if any(job.tiles is None for job in jobs) else None
    for number, frames in groupby(run_jobs("stream", asked), key=lambda frame: frame.job):
        yield FeatureSource(
            job=jobs[number], frames=frames, schema=schema, metadata=metadata, seen=seen
        )


@dataclass(frozen=True, kw_only=True)
class FeatureSource:
    """The rows of one matrix."""

    job: Job
    frames: Iterable[Frame]
    schema: pa.Schema
    metadata: OwnMetadata
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
                raise InputError(str(frame.values["message"]))
            if frame.kind != "rows":
                continue
            rows, embeddings = self._read(frame, facts.size)
            done += len(rows)
            keep = np.isfinite(embeddings[:, 0])
            for reason, numbers in _bad_rows(frame).items():
                bad.setdefault(reason, []).extend(numbers)
                keep[np.array(numbers, np.int64) - int(frame.values["start"])] = False
            if self.seen is not None:
                self._find_repeats(rows, keep, int(frame.values["start"]), bad, own)
            tiles = fill_columns(rows.filter(pa.array(keep)), self.schema, self._metadata_of())
            yield GivenRows(tiles=self._join(tiles), embeddings=embeddings[keep])
        if done != facts.rows:
            raise InputError(f"{self.name}: {facts.rows:,} rows before, {done:,} now")
        if self.seen is not None:
            self.seen.update(own)
        entries = [_describe(self.name, reason, n, done) for reason, n in bad.items() if n]
        if entries:
            yield GivenRows(
                tiles=self.schema.empty_table(),
                embeddings=np.zeros((0, facts.size), np.float16),
                rejected=tuple(entries),
            )

    def _read(self, frame: Frame, size: int) -> tuple[pa.Table, Any]:
        """Read a block, and check that it is one: a hostile file may have taken over the child."""
        try:
            table = pa.ipc.open_stream(frame.table).read_all()
            table.validate(full=True)
            embeddings = np.frombuffer(frame.embeddings, np.float16).reshape(-1, size)
            bits = embeddings.view(np.uint16)
            if (bits & _EXPONENT == _EXPONENT).any() or len(table) not in (0, len(embeddings)):
                raise ValueError("not a block of rows")
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{self.name}: cannot be read ({error})") from error
        if self.job.tiles is not None:
            return slide_rows(table, self.job.tiles), embeddings
        return table, embeddings

    def _metadata_of(self) -> Mapping[str, Any]:
        return {} if self.job.tiles is None else self.job.tiles.metadata

    def _join(self, tiles: pa.Table) -> pa.Table:
        """Add the metadata of rows with their own ids."""
        if self.job.tiles is not None or not self.metadata.rows:
            return tiles
        at = pa.array([self.metadata.rows.get(name) for name in tiles[IDS].to_pylist()], pa.int64())
        for name in self.metadata.table.column_names:
            position = tiles.column_names.index(name)
            tiles = tiles.set_column(
                position, self.schema.field(name), self.metadata.table[name].take(at)
            )
        return tiles

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


def _bad_rows(frame: Frame) -> dict[str, list[int]]:
    start, rows = int(frame.values["start"]), int(frame.values["rows"])
    found = {str(reason): [int(n) for n in ns] for reason, ns in frame.values["bad"].items()}
    if not all(start <= n < start + rows for ns in found.values() for n in ns):
        raise InputError("rows outside their block")
    return found


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
