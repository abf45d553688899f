"""Class probabilities of labelled tiles by models that did not learn from their groups."""

import numpy as np

from histo_index.arrays import Float64
from histo_index.indexer.reader import OpenIndex
from histo_index.search.classification.fit import fit_classes
from histo_index.search.classification.fit_index import HeldOut, hold_out
from histo_index.search.classification.held_out import split_groups
from histo_index.search.classification.layer import probabilities
from histo_index.search.classification.measure import ClassMetrics, measure_classes
from histo_index.search.inputs.labelled_pairs import LabelledPairs


def measure_index(index: OpenIndex, dataset: LabelledPairs) -> ClassMetrics | None:
    """Measure the class probabilities of an index, cross-validated by group.

    Args:
        index: the index.
        dataset: classes and groups of its tiles.

    Returns:
        The figures; None where classes or groups are too few.
    """
    held = hold_out(index, dataset) if dataset.classes else ""
    if isinstance(held, str):
        return None
    shares, priors = cross_fit(held)
    return measure_classes(shares, held.classes, held.groups, held.names, priors)


def cross_fit(held: HeldOut) -> tuple[Float64, Float64]:
    """Compute class probabilities, the settings of each fold fitted to the groups of the others.

    Returns:
        float64 [Q, C] each: the probabilities, and those by the shares of the classes alone.
    """
    folds = split_groups(held.groups, held.classes)
    shares = np.empty((len(held.queries), held.gallery.count))
    priors = np.empty_like(shares)
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        fitted = fit_classes(
            held.gallery, held.distances[others], held.classes[others], held.groups[others]
        )
        evidence = fitted.evidence(held.gallery, held.distances[own])
        shares[own] = probabilities(fitted.parameters, evidence, fitted.priors)
        priors[own] = fitted.priors
    return shares, priors
