"""The rank by which split conformal prediction chooses a bound (Papadopoulos et al. 2002; Vovk et al. 2005).

Of n values that are exchangeable with those to come, the k-th smallest, k = ceil((n + 1) share), is not exceeded by
``share`` of those to come at least.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from edgeai.api import DataRejected, Reals

FEWEST: Final = 10
"""Values without which nothing is chosen."""
_DIGITS: Final = 4


def bound_of(values: Reals, share: float, *, what: str, wanted: str) -> float:
    """The bound, rounded up to a few digits: what was promised is held.

    Args:
        values: (n,), none below 0.
        share: above 0, below 1.
        what: the samples do, for messages: ``state head``.
        wanted: of them: ``intervals of 0.9 need``.

    Raises:
        DataRejected: ``data.fold-few``: of so few none can be said.
    """
    rank = math.ceil((len(values) + 1) * share - 1e-9)
    if rank > len(values) or len(values) < FEWEST:
        fewest = max(FEWEST, math.ceil(share / (1 - share) - 1e-9))
        raise DataRejected(
            f"{len(values)} samples {what}, and {wanted} {fewest} at least",
            code="data.fold-few",
            remedy="more samples of it, fewer kinds of them, or a smaller share",
        )
    return _rounded_up(float(np.partition(values, rank - 1)[rank - 1]))


def _rounded_up(bound: float) -> float:
    if bound == 0:
        return 0.0
    digits = _DIGITS - 1 - math.floor(math.log10(bound))
    short = round(bound, digits)
    return short if short >= bound else round(short + 10.0**-digits, digits)
