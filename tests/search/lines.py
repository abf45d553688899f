"""Log-odds that are a straight line of the farness: the truth of simulated pairs."""

import numpy as np

from histo_index.search.calibration.curve import farness
from histo_index.search.calibration.platt import LogOdds


def line(intercept: float, slope: float) -> LogOdds:
    """Return log-odds `intercept - slope * farness`."""
    far = np.array([0.0, float(farness(4.0))])
    return LogOdds(farness=far, values=intercept - slope * far)
