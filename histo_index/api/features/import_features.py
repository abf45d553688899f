"""Make an index from features that other programs computed."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from histo_index.api.features.metadata import Metadata, read_metadata
from histo_index.api.features.slides import SlideFolder, open_folder, read_scales
from histo_index.errors import InputError
from histo_index.features.choose import Choice, choose_parts
from histo_index.features.containers.part import Facts
from histo_index.features.find import find_files
from histo_index.features.reading.process import run_jobs
from histo_index.features.sources import Job, stream_sources
from histo_index.features.tiles import SlideFound, join_schema, name_tiles
from histo_index.indexer.declared.build import (
    DeclaredConfig,
    GivenEmbeddings,
    build_from_embeddings,
    require_new,
)
from histo_index.indexer.format.records import read_record
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.private import PrivateColumns
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.writing.commit import count_reasons, read_rejected
from histo_index.progress import report

if TYPE_CHECKING:
    from histo_index.api.features.verify import Verification
    from histo_index.indexer.format.records import SearchConfig


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """How features are imported.

    Attributes:
        slides: folder of the slides; gives their scales, and paths that tiles are read by.
        slide_mpp: name of a slide to microns per level-0 pixel.
        encoder_name: what the encoder is called, or which of those in the files is imported.
        encoder: an encoder folder that the features are verified by.
        metadata: table with the column `slide` or `image_id`.
        distance: `diffused` or `plain`; None is diffused from 100 tiles on.
        search: how the index is searched; None chooses by its size.
        private: columns that are shown only on request.
    """

    slides: Path | None = None
    slide_mpp: Mapping[str, float] | None = None
    encoder_name: str | None = None
    encoder: Path | None = None
    metadata: Path | None = None
    distance: str | None = None
    search: "SearchConfig | None" = None
    private: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        index: the index folder.
        tiles: N.
        slides: how many slides they are of; 0 where rows brought their own ids.
        tools: program to the number of its matrices.
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
    encoder: str
    size: int
    status: str
    rejected: Mapping[str, int]
    reasons: tuple[str, ...]
    ignored: int
    seconds: float
    verification: "Verification | None" = None


def import_features(
    features: Sequence[str | Path] | str | Path,
    output: str | Path = "tiles.hx",
    options: FeatureOptions | None = None,
) -> ImportReport:
    """Make an index from features of TRIDENT, CLAM, AtlasPatch, slide2vec, LazySlide and others.

    Files are read in a process with limited memory and time. One that cannot be used is rejected,
    with the reason, and the rest is imported.

    Args:
        features: files and folders.
        output: a new index folder.
        options: what the files do not say.

    Returns:
        What was done.

    Raises:
        InputError: an input does not exist, or not one row can be used.
        MismatchError: the given encoder has another size.
        OSError: the disk is full or not writable.
    """
    started = time.monotonic()
    options = options or FeatureOptions()
    named = [features] if isinstance(features, str | Path) else features
    folder = Path(output)
    require_new(folder)
    metadata = read_metadata(options.metadata)
    slides = open_folder(options.slides, options.slide_mpp or {})
    found = find_files([Path(name) for name in named])
    parts, rejected = _describe(found.files)
    choice = choose_parts(parts, options.encoder_name)
    choice.rejected += [*found.rejected, *rejected]
    jobs = _name_jobs(choice, slides, metadata)
    if not jobs:
        raise InputError(_nothing(choice, parts))
    _build(folder, jobs, choice, metadata, options)
    done = _report(folder, jobs, choice, found.ignored)
    if options.encoder is not None:
        from histo_index.api.features.verify import verify_encoder

        verification = verify_encoder(folder, options.encoder)
        known = OpenIndex(folder).manifest.encoder.declared
        assert known is not None
        done = replace(done, verification=verification, status=known.status)
    return replace(done, seconds=time.monotonic() - started)


def _nothing(choice: Choice, parts: Sequence[Facts]) -> str:
    if choice.rejected:
        first = choice.rejected[0]
        return f"no features can be used; the first: {first.path}: {first.reason}"
    return f"{parts[0].path}: no features, but places of tiles alone; pass the features too"


def _describe(files: Sequence[Path]) -> tuple[list[Facts], list[Rejection]]:
    """Describe what the files hold, and reject those that cannot be used."""
    parts: list[Facts] = []
    rejected: list[Rejection] = []
    frames = run_jobs("describe", [{"path": str(path)} for path in files])
    for frame in frames:
        path = str(files[frame.job])
        report("opening", frame.job, len(files), unit="files")
        if frame.kind == "part":
            parts.append(read_record(Facts, dict(frame.values)))
        elif frame.kind == "error":
            reason = str(frame.values["message"]).removeprefix(f"{path}: ")
            rejected.append(Rejection(path=path, reason=reason))
            parts = [part for part in parts if part.path != path]
    return parts, rejected


def _name_jobs(choice: Choice, slides: SlideFolder, metadata: Metadata) -> list[Job]:
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
    jobs = []
    for one in choice.chosen:
        if one.facts.slide is None:
            jobs.append(Job(chosen=one))
            continue
        slide = found[one.facts.slide]
        if isinstance(slide, SlideFound):
            slide = scales.get(slide.path, slide)
        try:
            if isinstance(slide, InputError):
                raise slide
            own = metadata.of_slide(one.facts.slide, slide.path, Path(slide.path).name)
            jobs.append(Job(chosen=one, tiles=name_tiles(one, slide, own)))
        except InputError as error:
            choice.reject(one.facts, str(error))
    return jobs


def _build(
    folder: Path, jobs: Sequence[Job], choice: Choice, metadata: Metadata, options: FeatureOptions
) -> None:
    chosen = [job.chosen for job in jobs]
    schema = join_schema(chosen, metadata.schema)
    private = PrivateColumns(add=options.private).settle(None, schema.names)
    given = GivenEmbeddings(
        encoder=choice.encoder,
        size=chosen[0].facts.size,
        sources=stream_sources(jobs, schema, metadata.by_tile),
        rejected=tuple(choice.rejected),
        total=sum(one.facts.rows for one in chosen),
    )
    config = DeclaredConfig(
        output=folder, root=options.slides, distance=options.distance, search=options.search,
        private=tuple(private),
    )  # fmt: skip
    build_from_embeddings(config, given)


def _report(folder: Path, jobs: Sequence[Job], choice: Choice, ignored: int) -> ImportReport:
    opened = OpenIndex(folder, private=True)
    manifest, rows = opened.manifest, opened.rows
    assert manifest.encoder.declared is not None
    rejected = read_rejected(folder, manifest)
    slides = pc.count_distinct(rows["slide_id"]).as_py() if "slide_id" in rows.column_names else 0
    return ImportReport(
        index=folder,
        tiles=manifest.tiles,
        slides=slides,
        tools=dict(Counter(job.chosen.facts.tool for job in jobs)),
        encoder=choice.encoder,
        size=manifest.embedding_size,
        status=manifest.encoder.declared.status,
        rejected=count_reasons(rejected),
        reasons=tuple(f"{entry.path}: {entry.reason}" for entry in rejected),
        ignored=ignored + choice.ignored,
        seconds=0.0,
    )
