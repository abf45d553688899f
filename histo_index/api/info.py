"""Describe an index and check its files. The facts behind `info`."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.api.contents.show import column_names, count_classes
from histo_index.api.own_calibration import describe_stored, stored_scale
from histo_index.api.scale.check import describe_scale
from histo_index.errors import IndexFormatError
from histo_index.indexer.format.checksums import file_checksum, require_size
from histo_index.indexer.format.manifest import (
    MANIFEST_NAME,
    REMOVED,
    REMOVED_REMEDY,
    TRANSFORM,
    Manifest,
    read_manifest,
)
from histo_index.indexer.format.records import PLAIN, FileRecord, SourceRecord
from histo_index.indexer.format.removed import describe_rule, private_columns, read_removed
from histo_index.indexer.format.shards import receipt_path
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.sources.source import Source
from histo_index.indexer.transform.transform import remedy_of
from histo_index.indexer.writing.commit import PLAN_NAME, read_rejected
from histo_index.progress import report
from histo_index.search.maps.file import read_map
from histo_index.wording import counted


def index_facts(folder: Path, *, verify: bool) -> dict[str, Any]:
    """Describe an index and check its files.

    Args:
        folder: the index.
        verify: compare the checksum of every file; otherwise compare sizes.

    Raises:
        IndexFormatError: there is no index, or a file is damaged.
    """
    if not (folder / MANIFEST_NAME).exists() and (progress := unfinished_build(folder)):
        raise IndexFormatError(f"{folder} holds no finished index: {progress}")
    manifest = read_manifest(folder)
    damage = _find_damage(folder, manifest, verify=verify)
    if damage and read_manifest(folder).generation != manifest.generation:
        # Rebuilt meanwhile: the missing files belonged to the earlier generation.
        return index_facts(folder, verify=verify)
    if damage:
        several = f"{len(damage)} files are damaged; the first: " if len(damage) > 1 else ""
        raise IndexFormatError(several + damage[0])
    runtimes = sorted({" ".join(map(str, shard.runtime.values())) for shard in manifest.shards})
    document = manifest.to_json()
    facts = {
        "index": str(folder),
        "format": _format_of(folder),
        "generation": manifest.generation,
        "created": manifest.created,
        "tiles": manifest.tiles,
        **_removed_facts(folder, manifest),
        "rejected": manifest.rejected,
        **_column_facts(folder),
        "shards": len(manifest.shards),
        "bytes": sum(record.bytes for record in manifest.records()),
        "encoder": document["encoder"],
        **_declared_facts(manifest),
        "computed_by": "; ".join(runtimes),
        "searched_by": document["structure"],
        "distance": _distance(manifest),
        "scale": describe_scale(OpenIndex(folder), stored_scale(folder, manifest)),
        "sources": [_describe_source(folder, record) for record in manifest.sources],
        "calibration": describe_stored(folder, manifest),
        **_map_facts(folder),
        "settings": document["settings"],
        "libraries": document["libraries"],
        "files": f"{len(manifest.records())}, all intact"
        + (" (every checksum verified)" if verify else " by size (--verify reads them)"),
    }
    if progress := unfinished_build(folder):
        facts["unfinished"] = progress
    return facts


def _column_facts(folder: Path) -> dict[str, Any]:
    """Name the user's columns that are shown, and count the tiles of each class."""
    index = OpenIndex(folder)
    return {"columns": column_names(index), "classes": count_classes(index)}


def _declared_facts(manifest: Manifest) -> dict[str, Any]:
    """Say what is known of an encoder that was only declared."""
    declared = manifest.encoder.declared
    return {} if declared is None else {"encoder_status": declared.status}


def _map_facts(folder: Path) -> dict[str, Any]:
    """Describe the map of the index; nothing if there is none."""
    stored = read_map(folder)
    if stored is None:
        return {}
    made = f"{stored.facts.method}, seed {stored.facts.seed}, generation {stored.facts.generation}"
    return {"map": f"{counted(len(stored), 'different tile')} ({made})"}


def list_rejected(folder: Path) -> list[dict[str, str]]:
    """List the inputs that could not be used: `path` and `reason` of each.

    Raises:
        IndexFormatError: there is no index, or its list is damaged.
    """
    rejected = read_rejected(folder, read_manifest(folder))
    return [{"path": entry.path, "reason": entry.reason} for entry in rejected]


def _removed_facts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Count removed and purged tiles and list the standing rules."""
    removed, private = read_removed(folder, manifest), private_columns(manifest)
    return {
        "removed": len(removed.contents),
        "removed_stored": manifest.rows - manifest.tiles,
        "purged": len(removed.purged),
        "rules": [describe_rule(rule, private) for rule in removed.rules],
    }


def _format_of(folder: Path) -> int:
    """Return the format version of a manifest that was checked."""
    return int(json.loads((folder / MANIFEST_NAME).read_bytes())["format_version"])


def _describe_source(folder: Path, record: SourceRecord) -> str:
    source = Source.from_record(record, folder)
    manifest = f" with {source.manifest}" if source.manifest and source.paths else ""
    return ", ".join(str(path) for path in source.paths or [source.manifest]) + manifest


def _distance(manifest: Manifest) -> str:
    if manifest.distance is None:
        return PLAIN
    return f"{manifest.distance.name}, fitted on {counted(manifest.distance.fitted_on, 'tile')}"


def unfinished_build(folder: Path) -> str | None:
    """Describe the progress of an unfinished build; None if there is none."""
    plan = folder / PLAN_NAME
    if not plan.is_file():
        return None
    try:
        with open(plan, "rb") as file:
            table = pq.ParquetFile(file).read(columns=["shard_id"], use_threads=False)
            tasks = table["shard_id"].unique().to_pylist()
    except (OSError, pa.ArrowException):
        return "a build is running or was interrupted; `histo-index build` continues it"
    done = sum(receipt_path(folder, shard_id).exists() for shard_id in tasks)
    return (
        f"a build is running or was interrupted, {done} of {counted(len(tasks), 'shard')} "
        "finished; `histo-index build` continues it"
    )


def _find_damage(folder: Path, manifest: Manifest, *, verify: bool) -> list[str]:
    records = list(manifest.records())
    total = sum(record.bytes for record in records) >> 20
    done, found = 0, []
    for record in records:
        if verify:
            report("verifying", done >> 20, total, unit="MB")
        found.append(_problem(folder, manifest, record, verify))
        done += record.bytes
    return [problem for problem in found if problem]


def _problem(folder: Path, manifest: Manifest, record: FileRecord, verify: bool) -> str | None:
    path = folder / record.path
    remedy = "restore it, or run `histo-index build` again"
    if record.path.startswith("search/"):
        remedy = "run `histo-index reindex`"
    elif record == manifest.files.get(TRANSFORM):
        remedy = remedy_of(manifest.distance_kind)
    elif record == manifest.files.get(REMOVED):
        remedy = REMOVED_REMEDY
    elif record.path.startswith("encoder/"):
        # Without --encoder, a build opens this copy.
        remedy += " with --encoder DIR"
    try:
        require_size(path, found=path.stat().st_size, expected=record.bytes, remedy=remedy)
        found = file_checksum(path) if verify else record.checksum
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); {remedy}"
    except IndexFormatError as error:
        return str(error)
    if found != record.checksum:
        return f"{path}: damaged: checksum {found}, expected {record.checksum}; {remedy}"
    return None
