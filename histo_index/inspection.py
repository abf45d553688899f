"""What an index is, and what this machine has: the facts behind `info` and `doctor`."""

import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from histo_index.errors import HistoIndexError, IndexFormatError, counted
from histo_index.indexer.checksums import file_checksum, require_size
from histo_index.indexer.commit import PLAN_NAME
from histo_index.indexer.distance import remedy_of
from histo_index.indexer.manifest import (
    MANIFEST_NAME,
    PLAIN,
    REMOVED,
    REMOVED_REMEDY,
    TRANSFORM,
    FileRecord,
    Manifest,
    SourceRecord,
    read_manifest,
)
from histo_index.indexer.removed import describe_rule, private_columns, read_removed
from histo_index.indexer.shards import receipt_path
from histo_index.indexer.source import Source
from histo_index.search.own_calibration import describe_stored

_LIBRARIES: Final = (
    "torch", "torchvision", "openvino", "faiss-gpu", "faiss-cpu", "numpy", "pillow", "pyarrow",
    "safetensors", "xxhash", "typer",
)  # fmt: skip


def index_facts(folder: Path, *, verify: bool) -> dict[str, Any]:
    """Say what an index is.

    Args:
        folder: the index.
        verify: read every file and compare its checksum; else sizes only.

    Raises:
        IndexFormatError: there is no index, or a file of it is not as it was written.
    """
    if not (folder / MANIFEST_NAME).exists() and (progress := unfinished_build(folder)):
        raise IndexFormatError(f"{folder} holds no finished index: {progress}")
    manifest = read_manifest(folder)
    found = (_problem(folder, manifest, record, verify) for record in manifest.records())
    damage = [problem for problem in found if problem]
    if damage and read_manifest(folder).generation != manifest.generation:
        # Rebuilt meanwhile: what is missing belonged to the generation before.
        return index_facts(folder, verify=verify)
    if damage:
        several = f"{len(damage)} files are damaged; the first: " if len(damage) > 1 else ""
        raise IndexFormatError(several + damage[0])
    runtimes = sorted({" ".join(map(str, shard.runtime.values())) for shard in manifest.shards})
    facts = {
        "index": str(folder),
        "format": _format_of(folder),
        "generation": manifest.generation,
        "created": manifest.created,
        "tiles": manifest.tiles,
        **_removed_facts(folder, manifest),
        "rejected": manifest.rejected,
        "shards": len(manifest.shards),
        "bytes": sum(record.bytes for record in manifest.records()),
        "encoder": dict(manifest.encoder),
        "computed_by": "; ".join(runtimes),
        "searched_by": dict(manifest.structure) or {"factory": "exact"},
        "distance": _distance(manifest),
        "sources": [_describe_source(folder, record) for record in manifest.sources],
        "calibration": describe_stored(folder, manifest),
        "settings": dict(manifest.settings),
        "libraries": dict(manifest.libraries),
        "files": f"{len(manifest.records())}, all whole"
        + (" (every checksum verified)" if verify else " by size (--verify reads them)"),
    }
    if progress := unfinished_build(folder):
        facts["unfinished"] = progress
    return facts


def _removed_facts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Say how many contents are kept out of later builds, and what is still known of them."""
    removed, private = read_removed(folder, manifest), private_columns(manifest)
    return {
        "removed": len(removed.contents),
        "removed_stored": manifest.rows - manifest.tiles,
        "purged": len(removed.purged),
        "rules": [describe_rule(rule, private) for rule in removed.rules],
    }


def _format_of(folder: Path) -> int:
    """Tell the format version of a manifest that was read and found whole."""
    return int(json.loads((folder / MANIFEST_NAME).read_bytes())["format_version"])


def _describe_source(folder: Path, record: SourceRecord) -> str:
    source = Source.from_record(record, folder)
    manifest = f" with {source.manifest}" if source.manifest and source.paths else ""
    return ", ".join(str(path) for path in source.paths or [source.manifest]) + manifest


def _distance(manifest: Manifest) -> str:
    if TRANSFORM not in manifest.files:
        return PLAIN
    return f"{manifest.distance_kind}, fitted on {counted(manifest.distance['fitted_on'], 'tile')}"


def unfinished_build(folder: Path) -> str | None:
    """Tell how far an interrupted or running build has come; None if there is none."""
    plan = folder / PLAN_NAME
    if not plan.is_file():
        return None
    try:
        with open(plan, "rb") as file:
            table = pq.ParquetFile(file).read(columns=["shard_id"], use_threads=False)
            tasks = table["shard_id"].unique().to_pylist()
    except (OSError, pa.ArrowException):
        return "a build is running or was interrupted; `histo-index build` goes on from there"
    done = sum(receipt_path(folder, shard_id).exists() for shard_id in tasks)
    return (
        f"a build is running or was interrupted, {done} of {counted(len(tasks), 'shard')} "
        "finished; `histo-index build` goes on from there"
    )


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
        # Without it a build would open this very copy.
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


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What this machine has.

    Attributes:
        facts: name to value.
        problems: what keeps histo-index from working, one line each; empty if nothing does.
    """

    facts: dict[str, Any]
    problems: list[str]


def diagnose() -> Diagnosis:
    """Look at this machine, and try each part once."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "memory": f"{_memory_bytes() / 1e9:.1f} GB",
        "free_disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB here",
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
    }
    problems: list[str] = []
    parts: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
        ("torch", _try_torch),
        ("openvino", _try_openvino),
        ("faiss", _try_faiss),
        ("encoder", _try_bundled),
    )
    for name, attempt in parts:
        try:
            facts |= attempt()
        except (ImportError, OSError, RuntimeError, HistoIndexError) as error:
            reason = " ".join(str(error).split())[:300]
            facts[name] = "not usable"
            problems.append(f"{name}: {reason}")
    return Diagnosis(facts=facts, problems=problems)


def _try_torch() -> dict[str, Any]:
    import torch
    import torchvision

    has_gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if has_gpu else "none that torch can use",
        "torch": f"{torch.__version__}, torchvision {torchvision.__version__}",
    }


def _try_openvino() -> dict[str, Any]:
    import torch

    from histo_index.encoder.decode_pool import usable_cores
    from histo_index.encoder.openvino_cpu import cpu_capabilities

    formats = cpu_capabilities()
    precision = "bfloat16" if "BF16" in formats or torch.cuda.is_available() else "float32"
    encode = "torch on the GPU" if torch.cuda.is_available() else "OpenVINO on the CPU"
    return {
        "cpu": f"{counted(usable_cores(), 'core')}, fast in {', '.join(formats)}",
        "encoding": f"{encode}, {precision}",
    }


def _try_faiss() -> dict[str, Any]:
    import numpy as np

    from histo_index.cuda import has_cuda
    from histo_index.indexer.faiss_search import ExactSearch, faiss_version
    from histo_index.indexer.gpu_search import gpu_count

    vectors = np.eye(4, 8, dtype=np.float16)
    found = ExactSearch(vectors).search(vectors.astype(np.float32), 1)
    if found[:, 0].tolist() != [0, 1, 2, 3]:
        raise RuntimeError(f"FAISS finds wrong neighbours: {found[:, 0].tolist()}")
    exact = "torch on the GPU for many queries" if has_cuda() else "FAISS on the CPU"
    candidates = "FAISS on the GPU for many queries" if gpu_count() else "FAISS on the CPU"
    return {
        "faiss": faiss_version(),
        "searching": exact if exact == candidates else f"exact: {exact}; candidates: {candidates}",
    }


def _try_bundled() -> dict[str, Any]:
    from histo_index.encoder.folder import bundled_encoder, load_encoder

    return {"encoder": f"bundled: {load_encoder(bundled_encoder()).fingerprint}"}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_bytes() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
