"""The distance of an index: plain, between embeddings, or diffused, between transformed ones.

What turns embeddings into vectors is fitted once and kept, so that distances between tiles stay
when others are added. It lies beside the shards, not in `search/`, which can be deleted and made
again.
"""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from histo_index.errors import IndexFormatError, InputError
from histo_index.files import publish_bytes
from histo_index.indexer.encoder_protocol import Encode
from histo_index.indexer.format.checksums import require_whole
from histo_index.indexer.format.encoder_card import EncoderCard
from histo_index.indexer.format.manifest import CALIBRATION_NAME, TRANSFORM, Manifest
from histo_index.indexer.format.records import (
    DIFFUSED,
    PLAIN,
    THRESHOLDS,
    FileRecord,
    FittedDistance,
    ShardRecord,
    read_record,
)
from histo_index.indexer.format.shards import embeddings_of, iterate_shards, record_file
from histo_index.indexer.transform.diffusion import Diffusion, fit_diffusion
from histo_index.wording import counted

# With fewer, the directions in which tiles vary most only separate these few.
FEWEST_TILES: Final = 100
TRANSFORM_FILES: Final = f"{TRANSFORM}-*.npz"
# 41 MB in float32 at 2048 dimensions; a fit needs two copies, less than encoding needs.
_MOST_FITTED: Final = 5_000
# Grown to this many times what it was fitted on, an index may have another middle.
_GROWN: Final = 4

_log = logging.getLogger(__name__)


def remedy_of(kind: str) -> str:
    """Return the remedy for a missing or damaged transform."""
    return (
        f"restore it, or run `histo-index reindex --distance {kind}`, which fits another, and "
        "calibrate again"
    )


def require_distance(asked: str | None) -> None:
    """Check the name of a distance; None is valid.

    Raises:
        InputError: it is neither.
    """
    if asked is not None and asked not in THRESHOLDS:
        raise InputError(f"distance {asked!r} is unknown; expected {DIFFUSED} or {PLAIN}")


def distance_of(
    asked: str | None, current: Manifest | None, encode: Encode, *, folder: Path
) -> str:
    """Choose the distance: as asked, else the index's own, else by the encoder's thresholds.

    Args:
        asked: the user's, if any.
        current: what is committed; None in a first build.
        encode: the encoder.
        folder: the index; after the loss of a manifest its calibration shows what it was.
    """
    if asked is not None:
        return asked
    if current is not None:
        return current.settings.distance
    if (calibrated := _calibrated_distance(folder)) is not None:
        return calibrated
    card = read_record(EncoderCard, encode.card())
    published = (kind for kind in THRESHOLDS if card.threshold_for(kind) is not None)
    best = next(published, DIFFUSED)
    if best != DIFFUSED:
        _log.info(
            "distances are %s: the encoder publishes no threshold for %s ones; pass --distance "
            "%s to have them all the same", best, DIFFUSED, DIFFUSED,
        )  # fmt: skip
    return best


def settle_distance(
    folder: Path, draft: Manifest, current: Manifest | None, *, generation: int, refit: bool = False
) -> tuple[dict[str, FileRecord], FittedDistance | None]:
    """Keep the transform of an index, or fit one if it is due.

    Args:
        folder: the index.
        draft: what is about to be committed.
        current: what is committed now.
        generation: names the file, because files are never changed in place.
        refit: fit one even if there is one.

    Returns:
        Role to file, and the record of the fit; empty and None where distances are plain.

    Raises:
        IndexFormatError: a shard is missing or damaged.
    """
    wanted = draft.settings.distance
    before = current.distance if current else None
    kept = {TRANSFORM: current.files[TRANSFORM]} if current and before else {}
    name = before.name if before else PLAIN
    if wanted == PLAIN:
        return {}, None
    if before and name == wanted and not refit:
        _tell_grown(draft.rows, before.tiles, wanted)
        return kept, before
    if not refit and _calibrated_distance(folder) not in (None, wanted):
        _log.info("distances stay %s: the index is calibrated; see `reindex --distance`", name)
        return kept, before
    if draft.rows < FEWEST_TILES:
        _log.info(
            "distances are plain: %s, too few to fit %s ones, which takes %d",
            counted(draft.rows, "tile"), wanted, FEWEST_TILES,
        )  # fmt: skip
        return {}, None
    sample = _sample(folder, draft.shards)
    if current is not None and name != wanted:
        _log.info("distances are %s from here on, fitted on %s tiles", wanted, f"{len(sample):,}")
    transform = fit_diffusion(sample)
    path = folder / f"{TRANSFORM}-{generation:06d}.npz"
    _write_transform(path, transform)
    fitted = FittedDistance(
        name=wanted, tiles=draft.rows, fitted_on=len(sample), size=transform.size
    )
    return {TRANSFORM: record_file(folder, path)}, fitted


def _write_transform(path: Path, transform: Diffusion) -> None:
    stored, arrays = io.BytesIO(), dict[str, Any](transform.arrays())
    np.savez(stored, **arrays)
    publish_bytes(path, stored.getvalue())


def read_transform(path: Path, data: Any, record: FileRecord, *, kind: str) -> Diffusion:
    """Read a transform, checked byte for byte.

    Args:
        path: how messages call it.
        data: its bytes.
        record: what it was when it was written.
        kind: of distance, for messages.

    Raises:
        DamagedError: it is not as it was written.
    """
    require_whole(
        path, data=data, size=record.bytes, expected=record.checksum, remedy=remedy_of(kind)
    )
    stored = np.load(io.BytesIO(data))
    return Diffusion.from_arrays(stored)


def open_transform(folder: Path, files: Mapping[str, FileRecord], *, kind: str) -> Diffusion | None:
    """Read the transform among the files of an index; None where distances are plain.

    Raises:
        IndexFormatError: it is missing or damaged.
    """
    if TRANSFORM not in files:
        return None
    path = folder / files[TRANSFORM].path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFormatError(
            f"{path}: cannot be read ({error.strerror}); {remedy_of(kind)}"
        ) from error
    return read_transform(path, data, files[TRANSFORM], kind=kind)


def _calibrated_distance(folder: Path) -> str | None:
    """Return the distance that the stored calibration was fitted for; None without one."""
    path = folder / CALIBRATION_NAME
    if not path.exists():
        return None
    try:
        name = json.loads(path.read_bytes())["distance"].partition(" ")[0]
    except (ValueError, KeyError, TypeError, AttributeError):
        return PLAIN  # damaged: reading it reports that
    return name if name in THRESHOLDS else PLAIN


def _tell_grown(tiles: int, before: int, kind: str) -> None:
    if tiles >= _GROWN * before:
        _log.warning(
            "%s tiles, but distances were fitted when there were %s; `histo-index reindex "
            "--distance %s` fits them again; recalibrate afterwards",
            f"{tiles:,}", f"{before:,}", kind,
        )  # fmt: skip


def _sample(folder: Path, shards: Sequence[ShardRecord]) -> npt.NDArray[np.floating]:
    """Draw a random subsample of embeddings by a fixed seed: float16 [n, D]."""
    total = sum(shard.rows for shard in shards)
    count = min(total, _MOST_FITTED)
    wanted = np.sort(np.random.default_rng(0).choice(total, count, replace=False))
    parts, start = [], 0
    for table in iterate_shards(folder, shards):
        own = wanted[(wanted >= start) & (wanted < start + len(table))] - start
        parts.append(embeddings_of(table)[own])
        start += len(table)
    return distinct(np.concatenate(parts))


def distinct(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Drop repeated embeddings, floats [n, D].

    Many equal ones, empty background mostly, would dominate the fit.
    """
    _, first = np.unique(embeddings.view(f"V{embeddings[0].nbytes}"), return_index=True)
    kept: npt.NDArray[np.floating] = embeddings[np.sort(first)]
    return kept
