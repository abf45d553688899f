"""Compute the vectors of the baselines of an index."""

from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from histo_index.api.evaluation.baseline_cache import BaselineVectors, read_cache, write_cache
from histo_index.arrays import Float32, Int64
from histo_index.indexer.reader import OpenIndex
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.transform import FEWEST_TILES, distinct
from histo_index.search.evaluation.baselines import COLOUR, RANDOM
from histo_index.search.inputs.labelled_pairs import LabelledPairs
from histo_index.slides.reading.identity import is_there


def compute_baselines(
    index: OpenIndex, subset: LabelledPairs, root: Path, *, device: str = "auto"
) -> dict[str, Float32]:
    """Compute the vectors of a colour histogram and of an untrained network.

    Where the index transforms embeddings, a transform of the same kind is fitted to those of the
    untrained network, so that the encoders are compared and not the distances. Embeddings are kept
    beside the search files for the next evaluation.

    Args:
        index: holds the encoder whose architecture and preprocessing are used.
        subset: the tiles, T of them.
        root: root folder of the tile files.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Name of the baseline to float32 [T, D], unit rows in the order of the tiles.

    Raises:
        ImageError: a tile cannot be read.
        IndexFormatError: the encoder is damaged.
    """
    count, is_fitted = len(subset.rows), index.transform is not None
    rows = _add_tiles_to_fit(index, subset.rows, root) if is_fitted else subset.rows
    colours, randoms = _embed(index, rows, root, device=device)
    if is_fitted:
        randoms = fit_diffusion(distinct(randoms)).apply(randoms)
    return {COLOUR: colours[:count], RANDOM: randoms[:count]}


def _embed(index: OpenIndex, rows: Int64, root: Path, *, device: str) -> tuple[Float32, Float32]:
    """Compute what the cache lacks; see `baseline_vectors`."""
    made_by = f"{version('histo-index')} {index.manifest.encoder.fingerprint} {device}"
    known = read_cache(index, made_by) or BaselineVectors.none()
    missing = rows[~np.isin(rows, known.rows)]
    if not len(missing):
        return known.take(rows)
    # Imported here: it imports torch.
    from histo_index.encoder.baselines import baseline_vectors

    tiles = index.rows.select(["path", "sha256"]).take(pa.array(missing))
    paths = [root / path for path in tiles["path"].to_pylist()]
    colours, randoms, digests = baseline_vectors(index.folder / "encoder", paths, device=device)
    merged = known.add(missing, colours, randoms)
    # A file that was changed since the build is not the tile that was indexed.
    if digests == tiles["sha256"].to_pylist():
        write_cache(index, made_by, merged)
    return merged.take(rows)


def _add_tiles_to_fit(index: OpenIndex, rows: Int64, root: Path) -> Int64:
    """Append random other tiles until there are enough to fit a transform; skip missing files."""
    others = np.random.default_rng(0).permutation(np.setdiff1d(index.live_rows(), rows))
    readable = (row for row in others.tolist() if is_there(root / index.row(row)["path"]))
    added = list(islice(readable, max(FEWEST_TILES - len(rows), 0)))
    return np.append(rows, np.array(added, np.int64))
