"""Plan an import: what the files hold, which matrices are read, and which are as they were."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from histo_index.api.features.before import Before
from histo_index.api.features.slides import SlideFolder, read_scales
from histo_index.errors import InputError
from histo_index.features.choose import Choice
from histo_index.features.containers.part import Facts
from histo_index.features.metadata import Metadata
from histo_index.features.reading.process import run_jobs
from histo_index.features.remembered import FileState, digest_of, read_states
from histo_index.features.sources import Job
from histo_index.features.tiles import SlideFound, name_tiles
from histo_index.indexer.format.records import read_record
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.sources.source import relate
from histo_index.progress import report
from histo_index.wording import counted, printable

# A file that changed this shortly before may change again at what its time counts as one moment.
_SETTLED_NS: Final = 2_000_000_000
_UNSETTLED: Final = -1
# What is read with a file: its ids, or its description.
_BESIDE: Final = (".csv", ".tsv", ".parquet", ".txt", ".meta.json")
_WITH_OTHERS: Final = frozenset((".npy", ".npz", ".pt"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the files hold.

    Attributes:
        files: each file that can be used, with its parts, in order.
        rejected: the others.
    """

    files: tuple[FileState, ...]
    rejected: tuple[Rejection, ...]

    @property
    def parts(self) -> list[Facts]:
        """All parts, by the paths that can be opened."""
        return [part for file in self.files for part in file.parts]


def describe(files: Sequence[Path], before: Before | None) -> Described:
    """Describe what the files hold; those that are as they were are not opened."""
    states = {path: _state(path) for path in files}
    found: dict[Path, list[Facts]] = {}
    for path in files:
        if before is not None and (known := before.known_parts(path, states[path])) is not None:
            found[path] = known
    opened = [path for path in files if path not in found]
    rejected: dict[Path, str] = {}
    for frame in run_jobs("describe", [{"path": str(path)} for path in opened]):
        path = opened[frame.job]
        report("opening", frame.job, len(opened), unit="files")
        if frame.kind == "part":
            try:
                facts = read_record(Facts, dict(frame.values))
            except ValueError as error:  # the child was taken over
                rejected[path] = f"cannot be read ({error})"
                continue
            found.setdefault(path, []).append(replace(facts, path=str(path)))
        elif frame.kind == "error":
            rejected[path] = str(frame.values.get("message")).removeprefix(f"{path}: ")
    kept = [path for path in files if path in found and path not in rejected]
    return Described(
        files=tuple(
            FileState(path=str(path), bytes=states[path][0], times_ns=states[path][1],
                      parts=tuple(found[path]))
            for path in kept
        ),
        rejected=tuple(Rejection(path=str(path), reason=why) for path, why in rejected.items()),
    )  # fmt: skip


def _state(path: Path) -> tuple[int, int]:
    """Return size and times of a file, with what is read beside it; see `FileState`."""
    beside = [path]
    if path.suffix.lower() in _WITH_OTHERS:
        stem = path.name.removesuffix(path.suffix)
        beside += [path.with_name(stem + suffix) for suffix in _BESIDE]
    states = [state for place in beside if place.exists() for state in read_states(place)]
    times = [changed for _, changed in states]
    is_settled = time.time_ns() - max(times, default=0) > _SETTLED_NS
    return sum(size for size, _ in states), sum(times) if is_settled else _UNSETTLED


def name_jobs(choice: Choice, slides: SlideFolder, metadata: Metadata, folder: Path) -> list[Job]:
    """Find the slide of each matrix, and reject those without one or without a scale."""
    found: dict[str, SlideFound | InputError] = {}
    for one in choice.chosen:
        if (name := one.facts.slide) is not None:
            try:
                found[name] = slides.find(name)
            except InputError as error:
                found[name] = error
    unscaled = [
        slide
        for one in choice.chosen
        if one.facts.mpp is None
        and isinstance(slide := found.get(one.facts.slide or ""), SlideFound)
    ]
    scales = read_scales(slides, unscaled)
    jobs: list[Job] = []
    first: dict[str, str] = {}
    for one in choice.chosen:
        facts = one.facts
        key = relate(Path(facts.path).resolve(), folder) + (f"#{facts.part}" if facts.part else "")
        try:
            if facts.slide is None:
                jobs.append(Job(chosen=one, key=key))
                continue
            slide = found[facts.slide]
            if isinstance(slide, SlideFound):
                slide = scales.get(slide.path, slide)
            if isinstance(slide, InputError):
                raise slide
            if (other := first.setdefault(slide.path, facts.path)) != facts.path:
                raise InputError(f"two files of one slide: also {printable(other)}")
            jobs.append(Job(chosen=one, key=key, tiles=name_tiles(one, slide)))
        except InputError as error:
            choice.reject(facts, str(error))
    _warn_of_unknown(jobs, metadata)
    return jobs


def _warn_of_unknown(jobs: Sequence[Job], metadata: Metadata) -> None:
    """Warn of slides that a table of slides does not name."""
    if metadata.by_slide is None:
        return
    slides = [job.tiles.slide.path for job in jobs if job.tiles is not None]
    if unknown := [slide for slide in slides if not metadata.by_slide.find(slide)]:
        _log.warning(
            "%s: no row for %s of %s, such as %s: their columns stay empty",
            metadata.name, f"{len(unknown):,}", counted(len(slides), "slide"),
            printable(unknown[0]),
        )  # fmt: skip


def digests(
    jobs: Sequence[Job], described: Described, metadata: Metadata, folder: Path
) -> Mapping[str, str]:
    """Compute a digest over all that the rows of each matrix follow from: key to digest.

    It is empty where a file changed too shortly before to be known again.
    """
    states = {file.path: (file.bytes, file.times_ns) for file in described.files}
    found = {}
    for job in jobs:
        facts, places = job.chosen.facts, job.chosen.places
        own = [states[path] for path in (facts.path, places) if path is not None]
        slide = None if job.tiles is None else job.tiles.slide.path
        try:
            values = metadata.values(slide)
        except InputError:
            values = None  # its rows are rejected when they are read
        from_other = None if places is None else relate(Path(places).resolve(), folder)
        known = [replace(facts, path=""), from_other, own, job.tiles, values]
        is_settled = all(times != _UNSETTLED for _, times in own)
        found[job.key] = digest_of(known) if is_settled else ""
    return found
