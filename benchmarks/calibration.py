"""Compare curves and thresholds for `calibrate` on training tiles.

Needs an index of labelled tiles with groups, `benchmarks/training_split.py` names such tiles:

    histo-index build shared/data --manifest learn.csv -o learn.hx --encoder DIR
    python benchmarks/calibration.py learn.hx

Tiles are split by group: pairs of one half are labelled, those of the other half tell what that was
worth. Never run it to choose anything on `eval/`.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import measuring
import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.mixture import GaussianMixture

from histo_index.arrays import Bools, Float64, Int64
from histo_index.errors import InputError
from histo_index.indexer.reader import OpenIndex
from histo_index.search.calibration.curve import farness
from histo_index.search.calibration.fit import Fitted, fit
from histo_index.search.calibration.objectives import Objective
from histo_index.search.calibration.otsu import _valley
from histo_index.search.calibration.platt import Bins, expit
from histo_index.search.distance import pair_distances
from histo_index.search.inputs.labels import read_labels
from histo_index.search.inputs.row_pairs import draw_pairs
from histo_index.search.inputs.sample import Sample

Pairs = tuple[Float64, Bools, Int64, Int64]
# Gives, of labelled pairs, probability by distance and the cut.
Way = Callable[[Pairs], tuple[Callable[[Float64], Float64], float]]

SIZES: Final = (30, 100, 186, 500, 1_000, 4_000)
GROUPS: Final = (6, 12, 24, 48)
# Pairs labelled of so many groups.
LABELLED: Final = 1_000
# Below this nothing that distances are asked can be answered.
LEAST_AUC: Final = 0.6
EDGE: Final = 1e-3


class Tiles:
    """Labelled tiles of an index."""

    def __init__(self, path: Path, group: str | None) -> None:
        index = OpenIndex(path)
        found = read_labels(index, group=group)
        self.vectors = index.vectors(found.rows)
        self.labels = np.unique(found.labels, return_inverse=True)[1]
        self.groups = np.unique(found.groups, return_inverse=True)[1]

    def pairs(self, chosen: Bools, seed: int) -> Pairs:
        """Draw pairs among some tiles, in random order: distances, same or not, both groups."""
        chosen_rows = np.flatnonzero(chosen)
        left, right, is_same = draw_pairs(
            self.labels[chosen_rows], self.groups[chosen_rows], seed=seed
        )
        order = np.random.default_rng(seed).permutation(len(left))
        left, right, is_same = chosen_rows[left[order]], chosen_rows[right[order]], is_same[order]
        distances = pair_distances(self.vectors[left], self.vectors[right]).astype(np.float64)
        return distances, is_same, self.groups[left], self.groups[right]

    def halves(self, seed: int) -> tuple[Bools, Bools]:
        """Part the tiles by group."""
        names = np.random.default_rng(seed).permutation(self.groups.max() + 1)
        is_first = np.isin(self.groups, names[: len(names) // 2])
        return is_first, ~is_first


def sample_of(pairs: Pairs) -> Sample:
    distances, is_same, units_a, units_b = pairs
    return Sample(distances=distances, is_same=is_same, units_a=units_a, units_b=units_b, prior=0.5)


def as_built(pairs: Pairs) -> tuple[Callable[[Float64], Float64], float]:
    sample = sample_of(pairs)
    bins, ones = Bins(sample, Objective()), np.ones(len(sample.distances))
    fitted = bins.fit(ones)
    assert fitted is not None
    return lambda d: expit(fitted.at(d)), bins.threshold(fitted, ones)


def by_power(pairs: Pairs, power: float) -> tuple[Callable[[Float64], Float64], float]:
    """Fit log-odds that are linear in a power of the distance, by what is built for `farness`."""

    def bent(distances: Float64) -> Float64:
        # From 0 to 1.4, so that no farness is cut off.
        return 4 * (1 - np.exp(-(distances**power) / 4))

    curve, cut = as_built((bent(pairs[0]), *pairs[1:]))
    return lambda d: curve(bent(d)), float((4 * farness(cut)) ** (1 / power))


def by_steps(pairs: Pairs) -> tuple[Callable[[Float64], Float64], float]:
    """Isotonic regression, and the cut that is best on the labelled pairs themselves."""
    distances, is_same, *_ = pairs
    steps = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(distances, is_same)
    order = np.argsort(distances)
    right = np.cumsum(is_same[order]) + (~is_same[order])[::-1].cumsum()[::-1]
    best = int(right.argmax())
    cut = distances[order][best : best + 2].mean()
    return lambda d: np.asarray(steps.predict(d), np.float64), float(cut)


def compare_curves(tiles: Tiles, rounds: int) -> Iterator[tuple[str, ...]]:
    """Fit on pairs of one half, judge on the other."""
    fits: dict[str, Way] = {
        "as built": as_built,
        "of the distance": partial(by_power, power=1.0),
        "of its root": partial(by_power, power=0.5),
        "isotonic": by_steps,
    }
    for size in SIZES:
        losses, costs = defaultdict(list), defaultdict(list)
        for seed in range(rounds):
            first, second = tiles.halves(seed)
            labelled = tuple(column[:size] for column in tiles.pairs(first, seed))
            distances, is_same, *_ = tiles.pairs(second, seed)
            if len(labelled[0]) < size or labelled[1].all() or not labelled[1].any():
                continue
            order = np.argsort(distances)
            hits = np.cumsum(np.where(is_same[order], 1, -1)) + (~is_same).sum()
            for name, make in fits.items():
                curve, cut = make(labelled)  # type: ignore[arg-type]
                chances = np.clip(curve(distances), EDGE, 1 - EDGE)
                losses[name].append(log_loss(is_same, chances))
                found = ((distances <= cut) == is_same).mean()
                costs[name].append(hits.max() / len(hits) - found)
        if losses:
            cells = [f"{np.mean(losses[n]):.3f}, {100 * np.mean(costs[n]):.2f}" for n in fits]
            yield (f"{size:,}", *cells)


def compare_guesses(tiles: Tiles) -> Iterator[tuple[str, str, str]]:
    """Say how much accuracy each way of doing without labels loses, over subsets of the classes."""
    lost: dict[str, list[float]] = defaultdict(list)
    count = int(tiles.labels.max()) + 1
    sizes = range(2, count + 1)
    for classes in itertools.chain.from_iterable(
        itertools.combinations(range(count), size) for size in sizes
    ):
        chosen = np.isin(tiles.labels, classes)
        distances, is_same, *_ = tiles.pairs(chosen, 0)
        if not len(distances) or roc_auc_score(is_same, -distances) < LEAST_AUC:
            continue
        labelled = ((distances <= as_built((distances, is_same, *_))[1]) == is_same).mean()
        for name, cut in guesses(tiles, np.flatnonzero(chosen)).items():
            lost[name].append(labelled - ((distances <= cut) == is_same).mean())
    for name, found in sorted(lost.items(), key=lambda entry: max(entry[1])):
        yield name, f"{100 * np.mean(found):+.2f}", f"{100 * max(found):+.2f}"


def compare_abstaining(tiles: Tiles, rounds: int) -> Iterator[tuple[str, ...]]:
    """Calibrate on few groups, answer the pairs of all others, or leave them open by two rules."""
    for count in GROUPS:
        found = []
        for seed in range(rounds):
            names = np.random.default_rng(seed).permutation(tiles.groups.max() + 1)
            is_labelled = np.isin(tiles.groups, names[:count])
            labelled = tiles.pairs(is_labelled, seed)
            if not len(labelled[0]):
                continue
            try:
                few: Pairs = tuple(column[:LABELLED] for column in labelled)  # type: ignore[assignment]
                fitted = fit(sample_of(few), Objective())
            except InputError:
                continue
            distances, is_same, *_ = tiles.pairs(~is_labelled, seed)
            is_wrong = (distances <= fitted.threshold) != is_same
            found.append([is_wrong.mean(), *_shares(fitted, distances, is_wrong)])
        wrong, *rules = np.array(found).T
        cells = [
            f"{answered.mean():.2f}, {errors.sum() / answered.sum():.3f}, "
            f"{surest.sum() / answered.sum():.3f}, {(answered == 0).mean():.2f}"
            for answered, errors, surest in (rules[:3], rules[3:])
        ]
        yield (str(count), str(len(found)), f"{wrong.mean():.3f}", *cells)


def _shares(fitted: Fitted, distances: Float64, is_wrong: Bools) -> Iterator[float]:
    """For each rule: answered, answered wrongly, and wrong among as many of the surest."""
    curve, cut = fitted.curve, fitted.threshold
    probability = float(curve.at(np.array(cut)).probability)
    gaps = np.abs(farness(distances) - farness(cut))
    errors = np.append(0, np.cumsum(is_wrong[np.argsort(-gaps, kind="stable")])) / len(gaps)
    nearest, furthest = curve.distances_with_band_at(probability)
    reach = np.abs(farness(np.array([nearest, furthest])) - farness(cut)).max()
    for is_answered in ((distances < nearest) | (distances > furthest), gaps > reach):
        yield from (
            is_answered.mean(),
            (is_wrong & is_answered).mean(),
            errors[is_answered.sum()],
        )


def guesses(tiles: Tiles, chosen_rows: Int64) -> dict[str, float]:
    generator = np.random.default_rng(1)
    left, right = chosen_rows[generator.integers(0, len(chosen_rows), (2, 6_000))]
    is_across = tiles.groups[left] != tiles.groups[right]
    left, right = left[is_across], right[is_across]
    distances = np.sort(pair_distances(tiles.vectors[left], tiles.vectors[right])).astype(float)
    ones = np.ones(len(distances))
    found = {f"quantile {q}": float(np.quantile(distances, q)) for q in (0.3, 0.4, 0.5)}
    for name, values, back in (
        ("logarithms", np.log(np.maximum(distances, 1e-6)), np.exp),
        ("roots", np.sqrt(distances), np.square),
        ("distances", distances, lambda value: value),
    ):
        found[f"two parts of the {name}"] = float(back(_valley(values, ones)))
        mixture = GaussianMixture(2, random_state=0).fit(values[:, None])
        far = int(mixture.means_.argmax())
        grid = np.linspace(mixture.means_.min(), mixture.means_.max(), 200)
        # Equal shares of both: the weights of the mixture are not those of the pairs in use.
        mixture.weights_ = np.array([0.5, 0.5])
        is_far = mixture.predict(grid[:, None]) == far
        found[f"two normals of the {name}"] = float(back(grid[is_far.argmax()]))
    return found


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--group", help="column of the groups; else group")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    tiles = Tiles(options.index, options.group)
    print("Log loss on new groups, and points of accuracy below the best threshold there\n")
    header = ("pairs", "as built", "of the distance", "of its root", "isotonic, best cut")
    measuring.print_table(header, list(compare_curves(tiles, options.rounds)))
    print(
        "\nUnsure: wrong of all; then answered, wrong of those, wrong of as many of the surest, "
        "calibrations that answer none\n"
    )
    rules = ("interval holds the cut", "nor nearer than such")
    measuring.print_table(
        ("groups", "calibrations", "wrong", *rules), list(compare_abstaining(tiles, options.rounds))
    )
    print("\nPoints of accuracy lost without labels: mean and worst over subsets of the classes\n")
    measuring.print_table(("way", "mean", "worst"), list(compare_guesses(tiles)))


if __name__ == "__main__":
    main()
