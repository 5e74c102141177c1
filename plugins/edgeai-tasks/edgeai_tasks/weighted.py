"""Figures of many resamples at once, from how often each drew each sample."""

from __future__ import annotations

import numpy as np

from edgeai.api import Reals, Values, Weights


def weighted_median(values: Reals, weights: Weights) -> Values:
    """Of each row of weights: half of their sum is on either side; between two values, their middle."""
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weights[..., order], axis=-1)
    half = sums[..., -1:] / 2
    low, high = (np.argmax(reached, axis=-1) for reached in (sums >= half, sums > half))
    medians: Values = (values[order][low] + values[order][high]) / 2
    return medians
