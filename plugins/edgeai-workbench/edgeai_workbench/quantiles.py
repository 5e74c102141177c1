"""The quantile of split conformal prediction, exact for finite samples, whose units may have several.

Of n units of one sample that are exchangeable with those to come it is the k-th smallest, k = ceil((n + 1) (1 - risk)):
what comes is no stranger, but for the risk. Where units (patients) have several samples, each of a unit's weighs
1 / ((n + 1) m) for m of them, and what comes 1 / (n + 1) at infinity (Lee, Barber and Willett 2023, hierarchical
conformal prediction): the same holds of a sample of a unit to come. Nothing is assumed of how strangeness is spread.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

_ROUNDING: Final = 1e-9
_DIGITS: Final = 6


def quantile_of(strangeness: Mapping[str, Collection[float]], risk: float) -> float | None:
    """The quantile, rounded up to a few digits; ``None`` where there are fewer units than ``units_for``.

    Args:
        strangeness: unit -> how strange what is true of each of its samples is; no unit without a sample.
        risk: above 0, below 1.
    """
    needed = (len(strangeness) + 1) * (1 - risk) - _ROUNDING
    weighed = sorted((strange, 1 / len(each)) for each in strangeness.values() for strange in each)
    reached = 0.0
    for strange, weight in weighed:
        reached += weight
        if reached >= needed:
            return math.ceil(strange * 10**_DIGITS - _ROUNDING) / 10**_DIGITS
    return None


def units_for(risk: float) -> int:
    """The fewest units of which there is a quantile at this risk."""
    return max(1, math.ceil((1 - risk) / risk - _ROUNDING))
