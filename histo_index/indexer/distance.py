"""Which distance an index compares by: that of embeddings as they are, or of whitened ones.

A whitening is fitted once and kept, so that distances between tiles stay when others are added. It
lies beside the shards, not in `search/`, which can be deleted and made again.
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
from histo_index.indexer.atomic import publish_bytes
from histo_index.indexer.checksums import require_whole
from histo_index.indexer.encode import Encode
from histo_index.indexer.manifest import (
    CALIBRATION_NAME,
    PLAIN,
    WHITENED,
    WHITENING,
    FileRecord,
    Manifest,
    ShardRecord,
)
from histo_index.indexer.shards import embeddings_of, iterate_shards, record_file
from histo_index.indexer.whitening import Whitening, fit_whitening

# With fewer, the directions that tiles vary most in are those that tell these few apart.
FEWEST_TILES: Final = 100
# 61 MB in float32 at 1536 dimensions; directions fitted on more differ less than distances round.
_MOST_FITTED: Final = 10_000
# Grown to this many times what it was fitted on, an index may have another middle.
_GROWN: Final = 4
REMEDY: Final = (
    "restore it, or run `histo-index reindex --distance whitened`, which fits another, and "
    "calibrate again"
)

_log = logging.getLogger(__name__)


def require_distance(asked: str | None) -> None:
    """Refuse what is no distance; None, as before, is one.

    Raises:
        InputError: it is neither.
    """
    if asked not in (None, PLAIN, WHITENED):
        raise InputError(f"distance {asked!r} is unknown; expected {WHITENED} or {PLAIN}")


def distance_of(asked: str | None, current: Manifest | None, encode: Encode) -> str:
    """Choose the distance of an index: as asked, else as before, else what the encoder is made for.

    Args:
        asked: the user's, if any.
        current: what is committed; None in a first build.
        encode: the encoder.
    """
    if asked is not None:
        return asked
    if current is not None:
        return str(current.settings.get("distance", PLAIN))
    card = encode.card()
    if card["threshold"] is not None and card.get("whitened_threshold") is None:
        _log.info(
            "distances are plain: the encoder publishes no threshold for whitened ones; pass "
            "--distance whitened to have them all the same"
        )
        return PLAIN
    return WHITENED


def settle_distance(
    folder: Path, draft: Manifest, current: Manifest | None, *, generation: int, anew: bool = False
) -> tuple[dict[str, FileRecord], Mapping[str, Any]]:
    """Keep the whitening that an index has, or fit one where it is time for that.

    Args:
        folder: the index.
        draft: what is about to be committed.
        current: what is committed now.
        generation: names the file, because files are never changed in place.
        anew: fit one even if there is one.

    Returns:
        Role to file, empty where distances are plain; and what the manifest says of the distance.

    Raises:
        IndexFormatError: a shard is missing or damaged.
    """
    kept = current.files.get(WHITENING) if current is not None and not anew else None
    if draft.settings.get("distance", PLAIN) == PLAIN:
        return {}, {"name": PLAIN}
    if current is not None and kept is not None:
        _tell_grown(draft.tiles, int(current.distance["tiles"]))
        return {WHITENING: kept}, current.distance
    if draft.tiles < FEWEST_TILES:
        _log.info(
            "distances are plain: %d tiles are too few to fit whitened ones, which takes %d",
            draft.tiles, FEWEST_TILES,
        )  # fmt: skip
        return {}, {"name": PLAIN}
    if not anew and _is_calibrated_plain(folder):
        _log.info("distances stay plain: the index is calibrated; see `reindex --distance`")
        return {}, {"name": PLAIN}
    if current is not None and current.distance["name"] == PLAIN:
        _log.info("distances are whitened from here on, fitted on %d tiles", draft.tiles)
    sample = _sample(folder, draft.shards)
    path = folder / f"{WHITENING}-{generation:06d}.npy"
    stored = io.BytesIO()
    np.save(stored, fit_whitening(sample).as_array())
    publish_bytes(path, stored.getvalue())
    facts = {"name": WHITENED, "tiles": draft.tiles, "fitted_on": len(sample)}
    return {WHITENING: record_file(folder, path)}, facts


def read_whitening(path: Path, data: Any, record: FileRecord) -> Whitening:
    """Read a whitening, checked byte for byte.

    Args:
        path: how messages call it.
        data: its bytes.
        record: what it was when it was written.

    Raises:
        DamagedError: it is not as it was written.
    """
    require_whole(path, data=data, size=record.bytes, expected=record.checksum, remedy=REMEDY)
    return Whitening.from_array(np.load(io.BytesIO(data)))


def open_whitening(folder: Path, files: Mapping[str, FileRecord]) -> Whitening | None:
    """Read the whitening among the files of an index; None where distances are plain.

    Raises:
        IndexFormatError: it is missing or damaged.
    """
    if WHITENING not in files:
        return None
    path = folder / files[WHITENING].path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IndexFormatError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    return read_whitening(path, data, files[WHITENING])


def _is_calibrated_plain(folder: Path) -> bool:
    """Tell whether an index has a calibration whose threshold whitened distances would void."""
    path = folder / CALIBRATION_NAME
    if not path.exists():
        return False
    try:
        # After the loss of a manifest it may be of a whitening, which is then fitted as before.
        return bool(json.loads(path.read_bytes())["distance"] == PLAIN)
    except (ValueError, KeyError, TypeError):
        return True  # damaged: whoever asks is told


def _tell_grown(tiles: int, before: int) -> None:
    if tiles >= _GROWN * before:
        _log.warning(
            "%s tiles, but distances were fitted when there were %s; `histo-index reindex "
            "--distance whitened` fits them anew, and a calibration is then to be made again",
            f"{tiles:,}", f"{before:,}",
        )  # fmt: skip


def _sample(folder: Path, shards: Sequence[ShardRecord]) -> npt.NDArray[np.float16]:
    """Draw rows by lot, the same ones each time: float16 [n, D]."""
    total = sum(shard.rows for shard in shards)
    count = min(total, _MOST_FITTED)
    wanted = np.sort(np.random.default_rng(0).choice(total, count, replace=False))
    parts, start = [], 0
    for table in iterate_shards(folder, shards):
        own = wanted[(wanted >= start) & (wanted < start + len(table))] - start
        parts.append(embeddings_of(table)[own])
        start += len(table)
    return np.concatenate(parts)
