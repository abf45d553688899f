"""Make an index from features that other programs computed, or bring it up to date."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from histo_index.api.features.before import Before, choose_inputs, open_before
from histo_index.api.features.options import FeatureOptions, ImportReport
from histo_index.api.features.plan import Described, describe, digests, name_jobs
from histo_index.api.features.slides import open_folder
from histo_index.arrays import Bools
from histo_index.errors import InputError, MismatchError
from histo_index.features.choose import Choice, choose_parts
from histo_index.features.containers.own_columns import IDS
from histo_index.features.find import Found, find_files
from histo_index.features.metadata import Metadata, read_metadata
from histo_index.features.remembered import ReadMatrix, Remembered, write_remembered
from histo_index.features.sources import Job, stream_sources
from histo_index.features.tiles import FILE, fill_columns, join_schema
from histo_index.indexer.declared.build import build_from_embeddings
from histo_index.indexer.declared.given import DeclaredConfig, GivenEmbeddings
from histo_index.indexer.declared.stored import Stored
from histo_index.indexer.format.records import FileRecord
from histo_index.indexer.format.shards import Rejection
from histo_index.indexer.private import PrivateColumns
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.sources.source import relate
from histo_index.indexer.writing.commit import count_reasons, read_rejected

_log = logging.getLogger(__name__)


def import_features(
    features: Sequence[str | Path] | str | Path = (),
    output: str | Path = "tiles.hx",
    options: FeatureOptions | None = None,
) -> ImportReport:
    """Make an index from features of TRIDENT, CLAM, AtlasPatch, slide2vec, LazySlide and others.

    Files are read in a process with limited memory and time. One that cannot be used is rejected,
    with the reason, and the rest is imported. An index that an import made is brought up to date:
    files that are as they were are not read again, and rows of files that are gone are dropped.

    Args:
        features: files and folders; none for those that the index remembers.
        output: the index folder.
        options: what the files do not say.

    Returns:
        What was done.

    Raises:
        InputError: an input does not exist, or not one row can be used, or more than half of the
            tiles would be dropped.
        MismatchError: the index or the given encoder has another size, or is of another encoder.
        OSError: the disk is full or not writable; the old state stands.
    """
    started = time.monotonic()
    folder, options = Path(output), options or FeatureOptions()
    named = [features] if isinstance(features, str | Path) else features
    before = open_before(folder)
    inputs = choose_inputs([Path(name) for name in named], before, options)
    plan = _plan(folder, inputs, before, before.complete(options) if before else options)
    _require_size(plan)
    if before is not None and not (options.allow_drop or options.replace):
        before.require_kept(plan.jobs)
    _build(plan)
    done = _report(plan)
    if options.encoder is not None:
        from histo_index.api.features.verify import verify_encoder

        verification = verify_encoder(folder, options.encoder)
        known = OpenIndex(folder).manifest.encoder.declared
        assert known is not None
        done = replace(done, verification=verification, status=known.status)
    return replace(done, seconds=time.monotonic() - started)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What an import does.

    Attributes:
        folder: the index.
        inputs: files and folders.
        before: the index as it is; None if there is none.
        options: those remembered filled in.
        found: the files.
        described: what they hold.
        choice: what is imported of that.
        jobs: all matrices.
        metadata: of slides or tiles.
        digests: key of a matrix to what its rows follow from.
        kept: keys of the matrices that are as they were.
    """

    folder: Path
    inputs: Sequence[Path]
    before: Before | None
    options: FeatureOptions
    found: Found
    described: Described
    choice: Choice
    jobs: Sequence[Job]
    metadata: Metadata
    digests: Mapping[str, str]
    kept: Collection[str]


def _plan(
    folder: Path, inputs: Sequence[Path], before: Before | None, options: FeatureOptions
) -> _Plan:
    metadata = read_metadata(options.metadata)
    slides = open_folder(options.slides, options.slide_mpp or {})
    found = find_files(inputs)
    described = describe(found.files, before)
    encoder, size = options.encoder_name, None
    if before is not None:
        encoder, size = (
            encoder or before.encoder_in(described.parts),
            before.manifest.embedding_size,
        )
    choice = choose_parts(described.parts, encoder, size)
    choice.rejected += [*found.rejected, *described.rejected]
    jobs = name_jobs(choice, slides, metadata, folder)
    if not jobs:
        raise InputError(_nothing(choice, described))
    now = digests(jobs, described, metadata, folder)
    known = {m.key: m.digest for m in before.remembered.matrices} if before else {}
    kept = {key for key, digest in now.items() if digest and known.get(key) == digest}
    kept -= before.incomplete() if before else set()
    return _Plan(
        folder=folder, inputs=inputs, before=before, options=options, found=found,
        described=described, choice=choice, jobs=jobs, metadata=metadata, digests=now, kept=kept,
    )  # fmt: skip


def _nothing(choice: Choice, described: Described) -> str:
    if choice.rejected:
        first = choice.rejected[0]
        return f"no features can be used; the first: {first.path}: {first.reason}"
    path = described.parts[0].path
    return f"{path}: no features, but places of tiles alone; pass the features too"


def _require_size(plan: _Plan) -> None:
    """Check the given encoder before the long work."""
    if plan.options.encoder is None:
        return
    from histo_index.encoder.folder import read_config

    size = read_config(plan.options.encoder)[0].embedding_size
    own = plan.jobs[0].chosen.facts.size
    if size != own:
        raise MismatchError(
            f"the features have {own:,} numbers, but the encoder {plan.options.encoder} has "
            f"{size:,}; pass the one that computed them"
        )


def _build(plan: _Plan) -> None:
    options, before = plan.options, plan.before
    schema = join_schema([job.chosen for job in plan.jobs], plan.metadata.schema)
    current = before.manifest if before else None
    private = PrivateColumns(add=options.private).settle(current, schema.names)
    new = [job for job in plan.jobs if job.key not in plan.kept]
    keys = pa.array(sorted(plan.kept), pa.string())

    def is_kept(rows: pa.Table) -> Bools:
        found: Bools = pc.is_in(rows[FILE], value_set=keys).to_numpy()
        return found

    if before is not None and new and before.manifest.encoder.note is None:
        _log.warning(
            "%s: the encoder was verified on the tiles before; run `histo-index encoder verify` "
            "again, until then new images are refused", plan.folder,
        )  # fmt: skip
    taken = _taken_ids(plan.folder, is_kept) if before and new else []
    usable = {m.key: m.rows for m in before.remembered.matrices} if before else {}
    given = GivenEmbeddings(
        encoder=plan.choice.encoder,
        size=plan.jobs[0].chosen.facts.size,
        sources=stream_sources(new, schema, plan.metadata, taken, usable),
        rejected=(*plan.choice.rejected, *_rejected_before(plan)),
        total=sum(job.chosen.facts.rows for job in new),
        stored=None if before is None else Stored(
            manifest=before.manifest,
            is_kept=is_kept,
            fill=lambda rows: fill_columns(rows, schema),
        ),
        remember=lambda folder, generation, rejected: _remember(plan, generation, rejected, usable),
    )  # fmt: skip
    root = options.slides
    if root is None and before is not None:
        root = before.manifest.tiles_root(plan.folder)
    config = DeclaredConfig(
        output=plan.folder, root=root, distance=options.distance, search=options.search,
        private=tuple(private),
    )  # fmt: skip
    build_from_embeddings(config, given)


def _taken_ids(folder: Path, is_kept: Callable[[pa.Table], Bools]) -> list[str]:
    rows = OpenIndex(folder, private=True).rows
    ids: list[str] = rows[IDS].filter(pa.array(is_kept(rows))).to_pylist()
    return ids


def _rejected_before(plan: _Plan) -> list[Rejection]:
    """Return the rows that were rejected of matrices that are not read again."""
    if plan.before is None:
        return []
    paths = {job.key: job.chosen.facts.path for job in plan.jobs}
    return [
        Rejection(path=paths[matrix.key], reason=reason)
        for matrix in plan.before.remembered.matrices
        if matrix.key in plan.kept
        for reason in matrix.rejected
    ]


def _remember(
    plan: _Plan, generation: int, rejected: Sequence[Rejection], usable: Mapping[str, int]
) -> Mapping[str, FileRecord]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for entry in set(rejected) - set(plan.choice.rejected):
        reasons[entry.path].append(entry.reason)
    options, folder = plan.options, plan.folder

    def remember(path: str | Path) -> str:
        return relate(Path(path).resolve(), folder)

    found = Remembered(
        inputs=tuple(map(remember, plan.inputs)),
        slides=None if options.slides is None else remember(options.slides),
        slide_mpp=dict(options.slide_mpp or {}),
        metadata=None if options.metadata is None else remember(options.metadata),
        encoder_name=options.encoder_name,
        files=tuple(
            replace(
                file,
                path=remember(file.path),
                parts=tuple(replace(part, path="") for part in file.parts),
            )
            for file in plan.described.files
        ),
        matrices=tuple(
            ReadMatrix(
                key=job.key,
                digest=plan.digests[job.key],
                rows=usable.get(job.key, 0),
                rejected=tuple(sorted(reasons[job.chosen.facts.path])),
            )
            for job in plan.jobs
        ),
    )
    return write_remembered(folder, found, generation=generation)


def _report(plan: _Plan) -> ImportReport:
    opened = OpenIndex(plan.folder, private=True)
    manifest, rows = opened.manifest, opened.rows
    assert manifest.encoder.declared is not None
    rejected = read_rejected(plan.folder, manifest)
    slides = pc.count_distinct(rows["slide_id"]).as_py() if "slide_id" in rows.column_names else 0
    return ImportReport(
        index=plan.folder,
        tiles=manifest.tiles,
        slides=slides,
        tools=dict(Counter(job.chosen.facts.tool for job in plan.jobs)),
        read=sum(job.key not in plan.kept for job in plan.jobs),
        encoder=plan.choice.encoder,
        size=manifest.embedding_size,
        status=manifest.encoder.declared.status,
        rejected=count_reasons(rejected),
        reasons=tuple(f"{entry.path}: {entry.reason}" for entry in rejected),
        ignored=plan.found.ignored + plan.choice.ignored,
        seconds=0.0,
    )
