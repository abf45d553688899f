"""Probabilities of a fitted class model, with their intervals."""

from dataclasses import dataclass

import numpy as np

from histo_index.arrays import Float64
from histo_index.search.classification.fit import Fitted
from histo_index.search.classification.layer import probabilities


@dataclass(frozen=True, kw_only=True)
class Chances:
    """The probability of each class.

    Attributes:
        values: float64 [Q, C], rows summing to 1.
        lows: float64 [Q, C], lower ends of the 95 % intervals; NaN where there are none.
        highs: upper ends.
    """

    values: Float64
    lows: Float64
    highs: Float64


def chances(fitted: Fitted, evidence: Float64, *, level: float = 0.95) -> Chances:
    """Compute probabilities and intervals.

    An interval is about tiles of new groups that get this probability for this class: it holds the
    share of them that are of the class. It is the t interval of the log-odds; beyond what so many
    groups can show at all, within half a group of 0 or 1, it is as wide as for no exception.

    Args:
        fitted: the model.
        evidence: float64 [Q, EVIDENCE, C], from `Fitted.evidence`.
        level: confidence, 0…1.
    """
    values = probabilities(fitted.parameters, evidence, fitted.priors)
    if fitted.covariance is None:
        nothing = np.full_like(values, np.nan)
        return Chances(values=values, lows=nothing, highs=nothing)
    # Imported here: a look-up must start fast.
    from scipy.special import expit, logit, stdtrit

    means = np.einsum("qfc,qc->qf", evidence, values)
    middles = (evidence - means[:, :, None]).transpose(0, 2, 1)
    # Derivatives of the log-odds by the parameters, float64 [Q, C, P].
    slopes = np.concatenate([np.eye(values.shape[1]) - values[:, None, :], middles], axis=2)
    slopes /= np.maximum(1 - values, 1e-12)[:, :, None]
    variances = np.einsum("qcp,pr,qcr->qc", slopes, fitted.covariance, slopes, optimize=True)
    reaches = stdtrit(fitted.groups - 1, (1 + level) / 2) * np.sqrt(variances)
    odds = logit(values)
    lows, highs = expit(odds - reaches), expit(odds + reaches)
    # As many groups without an exception cannot show more (Clopper and Pearson, 1934).
    least, edge = ((1 - level) / 2) ** (1 / fitted.groups), 0.5 / fitted.groups
    lows = np.where(values > 1 - edge, np.minimum(lows, least), lows)
    highs = np.where(values < edge, np.maximum(highs, 1 - least), highs)
    return Chances(values=values, lows=lows, highs=highs)
