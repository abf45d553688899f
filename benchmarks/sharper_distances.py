"""Unsupervised changes of the distance: gain in pair ROC-AUC, and cost.

Everything that is fitted is fitted without labels on the tiles of the index itself. Ideas are
chosen on held-out groups of the training tiles (`choose`, over an index of the training tiles) and
reported on the evaluation sets, each as one index. Gains have a 95 % interval from
resampling groups; an idea is adopted if it wins on both sets by more than that.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import measuring
import numpy as np
import training_split
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans

from histo_index.arrays import Float64, Int64, Pixels
from histo_index.encoder.decode.image_file import DecodeLimits, read_tile
from histo_index.encoder.encoder import Encoder
from histo_index.encoder.folder import bundled_encoder, load_encoder
from histo_index.indexer.inputs.tables import read_table
from histo_index.indexer.transform.diffusion import fit_diffusion
from histo_index.indexer.transform.whitening import fit_whitening
from histo_index.search.evaluation.compare import difference
from histo_index.search.pair_metrics import SortedPairs

# Vectors of the index, rows of length 1 [N, D], and the group of each [N], to distances [N, N].
Idea = Callable[[Float64, Int64], Float64]

_NEIGHBOURS: Final = 20
_CLUSTERS: Final = 16
# Of the training tiles, so that squares of N fit; evenly spread.
_EVERY: Final = 4
_TWO: Final = ("colonn", "lungn")


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """An index, some of whose tiles have labels.

    Attributes:
        tiles: uint8 RGB [H, W, 3] each, [N]; labelled ones first.
        labels: class of the labelled ones, [T].
        groups: of all, [N].
    """

    tiles: Sequence[Pixels]
    labels: Int64
    groups: Int64


def main() -> None:
    options = measuring.parser(__doc__)
    options.add_argument("--encoder", type=Path, default=None, help="left out, the bundled one")
    given = options.parse_args()
    runner = Encoder(load_encoder(given.encoder or bundled_encoder()))
    measuring.print_machine()
    results = {}
    for name, make in GALLERIES.items():
        measuring.tell(f"encoding {name}")
        results[name] = judge(runner, make())
    report(results)


def training_gallery() -> Gallery:
    learn, choose = training_split.split()
    rows = choose + learn[::_EVERY]
    return Gallery(
        tiles=[_read(training_split.DATA / row["path"]) for row in rows],
        labels=_codes([row["label"] for row in choose]),
        groups=_codes([row["group"] for row in rows]),
    )


def two_class_gallery() -> Gallery:
    """An index of two categories and no more: what all of its tiles vary in is what parts them."""
    rows = [row for row in training_split.split()[1] if row["label"] in _TWO]
    return Gallery(
        tiles=[_read(training_split.DATA / row["path"]) for row in rows],
        labels=_codes([row["label"] for row in rows]),
        groups=_codes([row["group"] for row in rows]),
    )


def labelled_gallery(name: str) -> Gallery:
    folder = training_split.DATA / "eval" / name
    table = read_table(folder / "labels.csv").to_pylist()
    return Gallery(
        tiles=[_read(folder / row["path"]) for row in table],
        labels=_codes([str(row["label"]) for row in table]),
        groups=_codes([str(row["group"]) for row in table]),
    )


GALLERIES: Final[Mapping[str, Callable[[], Gallery]]] = {
    "choose": training_gallery,
    "kather2016": lambda: labelled_gallery("kather2016"),
    "lc25000": lambda: labelled_gallery("lc25000"),
    "two classes of choose": two_class_gallery,
}


def judge(runner: Encoder, gallery: Gallery) -> dict[str, tuple[str, str]]:
    """Give the area, its gain over the plain distance and the seconds, by idea."""
    vectors = runner.encode_pixels(gallery.tiles).astype(np.float64)
    count = len(gallery.labels)
    left, right = np.triu_indices(count, 1)
    across = gallery.groups[left] != gallery.groups[right]
    left, right = left[across], right[across]
    is_same = gallery.labels[left] == gallery.labels[right]
    units = gallery.groups[left], gallery.groups[right]
    started = time.process_time()
    turned = _unit(sum(_turns(runner, gallery.tiles), start=np.zeros_like(vectors)))
    seconds = {"mean of the eight flips and turns": time.process_time() - started}
    plain = SortedPairs(_plain(vectors, gallery.groups)[left, right], is_same)
    found = {}
    for name, idea in IDEAS.items():
        given = turned if name in seconds else vectors
        started = time.process_time()
        distances = idea(given, gallery.groups)
        spent = seconds.get(name, 0.0) + time.process_time() - started
        figures = SortedPairs(distances[left, right], is_same)
        gain = difference(partial(_gain, figures, plain), *units)
        area = figures.curve(np.ones(len(left))).area
        found[name] = (_shown(area, gain), f"{1000 * spent / len(vectors):.2f}")
        measuring.tell(f"  {name}: {found[name][0]}")
    return found


def _gain(ours: SortedPairs, plain: SortedPairs, weights: Float64) -> float:
    return ours.curve(weights).area - plain.curve(weights).area


def _shown(area: float, gain: object) -> str:
    value, low, high = (getattr(gain, part) for part in ("value", "low", "high"))
    if low is None or high is None:
        return f"{area:.3f} ({value or 0.0:+.3f})"
    return f"{area:.3f} ({value:+.3f}, {low:+.3f}…{high:+.3f})"


def _plain(vectors: Float64, groups: Int64) -> Float64:
    return 2 - 2 * vectors @ vectors.T


def _centred(vectors: Float64, groups: Int64) -> Float64:
    return _plain(_unit(vectors - vectors.mean(axis=0)), groups)


def _projected(vectors: Float64, *, size: int) -> Float64:
    """Project on principal directions."""
    centred = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    return _unit(centred @ directions[:size].T)


def _whitened(vectors: Float64, ridge: float) -> Float64:
    """As an index does, fitted on all of its tiles."""
    return fit_whitening(vectors, ridge=ridge).apply(vectors).astype(np.float64)


def _diffused(vectors: Float64, groups: Int64) -> Float64:
    """As an index does, fitted on all of its tiles."""
    return _plain(fit_diffusion(vectors).apply(vectors).astype(np.float64), groups)


def _near(vectors: Float64, groups: Int64) -> Float64:
    """Mark the nearest tiles of other groups of each: floats [N, N] of 0 and 1."""
    likeness = vectors @ vectors.T
    likeness[groups[:, None] == groups] = -np.inf
    count = min(_NEIGHBOURS, len(vectors) // 4)
    nearest = np.argpartition(-likeness, count, axis=1)[:, :count]
    marks = np.zeros_like(likeness)
    np.put_along_axis(marks, nearest, 1.0, axis=1)
    return marks


def _agreement(vectors: Float64, groups: Int64) -> Float64:
    marks = _near(vectors, groups)
    shared = marks @ marks.T
    own = marks.sum(axis=1)
    apart: Float64 = 1 - shared / (own[:, None] + own - shared)
    return apart


def _drawn(vectors: Float64, groups: Int64) -> Float64:
    """Move each vector to the mean of its neighbours."""
    return _plain(_unit(_near(vectors, groups) @ vectors), groups)


def _clustered(vectors: Float64, groups: Int64) -> Float64:
    """Compare by the softly assigned clusters of each tile."""
    fitted = KMeans(_CLUSTERS, n_init=4, random_state=0).fit(vectors)
    gaps = fitted.transform(vectors) ** 2
    odds = np.exp(-(gaps - gaps.min(axis=1, keepdims=True)) / (gaps.std() / 2))
    roots = np.sqrt(odds / odds.sum(axis=1, keepdims=True))
    apart: Float64 = 1 - roots @ roots.T
    return apart


def _joint(vectors: Float64, groups: Int64) -> Float64:
    """Judge all tiles together: the level at which average linkage joins two."""
    distances = np.maximum(_plain(vectors, groups), 0)
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    joined: Float64 = squareform(cophenet(linkage(condensed, "average")))
    return joined


IDEAS: Final[Mapping[str, Idea]] = {
    "plain": _plain,
    "mean of the eight flips and turns": _plain,
    "centred": _centred,
    "64 principal directions": lambda v, g: _plain(_projected(v, size=64), g),
    "whitened, ridge 0.1": lambda v, g: _plain(_whitened(v, 0.1), g),
    "whitened, ridge 0.5": lambda v, g: _plain(_whitened(v, 0.5), g),
    "whitened, ridge 1 (built)": lambda v, g: _plain(_whitened(v, 1.0), g),
    "whitened, ridge 2": lambda v, g: _plain(_whitened(v, 2.0), g),
    "diffused (built)": _diffused,
    "moved to the mean of 20 neighbours": _drawn,
    "whitened, then moved": lambda v, g: _drawn(_whitened(v, 1.0), g),
    "agreement of 20 neighbours": _agreement,
    "16 soft clusters": _clustered,
    "joint, average linkage": _joint,
}


def _turns(runner: Encoder, tiles: Sequence[Pixels]) -> list[Float64]:
    return [
        runner.encode_pixels(
            [np.ascontiguousarray(np.rot90(tile[:, ::side], turn)) for tile in tiles]
        ).astype(np.float64)
        for side in (1, -1)
        for turn in range(4)
    ]


def _unit(vectors: Float64) -> Float64:
    scaled: Float64 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _codes(names: Sequence[str]) -> Int64:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _read(path: Path) -> Pixels:
    return read_tile(path, DecodeLimits()).pixels


def report(results: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
    print("Pair ROC-AUC across groups (gain over plain, 95 % interval); milliseconds a tile.\n")
    measuring.print_table(
        ("idea", *results, "ms a tile"),
        [
            (idea, *(found[idea][0] for found in results.values()), results["choose"][idea][1])
            for idea in IDEAS
        ],
    )


if __name__ == "__main__":
    main()
