"""Whether a decision is not worse than another's by more than a margin: the interval that such a proof asks for.

Shares of the same samples differ by Tango's score interval (Statistics in Medicine 1998), whose ends hold with few
samples and where both decide all of them alike: then it ends at z^2 / (n + z^2), near the rule of three, where Bonett
and Price's ends at less, and would show what one in fifteen such samples does not have. The mean over labels is put
together from theirs; every other figure has the interval of its difference.

The difference of areas of two unlike models has none that holds where few samples are positive: with 6, 84 to 90 % of
DeLong's hold the true one, with 20, 92 to 94 %. Fewer prove nothing here.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import Figure
from edgeai_workbench.libraries import needed
from edgeai_workbench.statistics.areas import Area
from edgeai_workbench.statistics.bootstrap import LEVEL, RESAMPLES, Design
from edgeai_workbench.statistics.intervals import alike, parts_of, together
from edgeai_workbench.statistics.paired import Discordant, Gap, difference_of, mcnemar
from edgeai_workbench.statistics.shares import Share, quantile

Reals: TypeAlias = npt.NDArray[np.float64]
_EXACT = 1e-12
FEWEST_OF_AREA = 20
"""Of either class, without which the difference of areas has no interval that proves anything."""


def decided_of(
    one: Figure, other: Figure, design: Design, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Gap:
    """As ``difference_of``, for a proof that ``other`` is not worse.

    Raises:
        EvaluationFailed: as ``difference_of``.
    """
    pairs = [(a, b) for a, b in zip(parts_of(one), parts_of(other), strict=False) if a.known]
    shares = [(a, b) for a, b in pairs if isinstance(a, Share) and isinstance(b, Share) and (a.among == b.among).all()]
    if not shares or len(one.parts) != len(other.parts) or len(shares) != len(pairs):
        rarer = min((_rarer(a, design) for a, _ in pairs if isinstance(a, Area)), default=FEWEST_OF_AREA)
        if rarer < FEWEST_OF_AREA:
            return Gap(low=math.nan, high=math.nan, p=math.nan, method="", test="", counted=rarer)
        return difference_of(one, other, design, resamples=resamples, level=level, seed=seed)
    each = [Discordant.of(a, b, design) for a, b in shares]
    ends = np.array([tango(only, quantile(level, only.freedom)) for only in each])
    middles = np.array([(only.lost - only.won) / only.count for only in each])
    shared = alike([a.influence() - b.influence() for a, b in shares], design)
    middle = float(middles.mean())
    below, above = (together(side, shared) for side in (middles - ends[:, 0], ends[:, 1] - middles))
    single = each[0] if len(each) == 1 and each[0].single else None
    return Gap(
        low=max(-1.0, middle - below),
        high=min(1.0, middle + above),
        p=mcnemar(single.lost, single.won) if single else math.nan,
        method="Tango" + design.in_words + ("" if len(each) == 1 else f", mean of {len(each)}"),
        test="McNemar, exact" if single else "",
        counted=int(min(only.count for only in each)) if len(each) == 1 else 0,
    )


def _rarer(area: Area, design: Design) -> int:
    """Units of the class that has fewer."""
    return min(len(np.unique(design.unit_of[side])) for side in (area.truth, ~area.truth))


def tango(only: Discordant, z: float) -> tuple[float, float]:
    """Both ends of the difference of two shares of the same samples."""
    root = needed("scipy.optimize").brentq
    difference = (only.lost - only.won) / only.count
    low = (
        -1.0 if _score(only, -1.0 + _EXACT) < z else root(lambda gap: _score(only, gap) - z, -1.0 + _EXACT, difference)
    )
    high = 1.0 if _score(only, 1.0 - _EXACT) > -z else root(lambda gap: _score(only, gap) + z, difference, 1.0 - _EXACT)
    return float(low), float(high)


def needed_to_show(margin: float, level: float = LEVEL) -> float:
    """The least number of samples that can show a share to fall by no more than ``margin``: all decided alike."""
    z = quantile(level)
    if margin <= 0:
        return math.inf
    return float(max(1, math.ceil(z * z * (1 - margin) / margin - 1e-9)))


def _score(only: Discordant, gap: float) -> float:
    """How far what was found is from a true difference of ``gap``, in errors that such a difference would have."""
    lost, won, count = only.lost, only.won, only.count
    linear = -lost - won + (2 * count - lost + won) * gap
    least = max(0.0, linear * linear + 8 * count * won * gap * (1 - gap))
    rarer = max(0.0, (math.sqrt(least) - linear) / (4 * count))
    spread = count * (2 * rarer + gap * (1 - gap))
    away = lost - won - count * gap
    if spread <= 0:
        return 0.0 if away == 0 else math.copysign(math.inf, away)
    return away / math.sqrt(spread)
