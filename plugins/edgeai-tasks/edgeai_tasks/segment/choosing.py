"""A label's threshold, chosen on samples that no weight was trained on.

Masks are made by the task itself, as on a cart (pieces, holes, ellipse, geometry), at each threshold of ``THRESHOLDS``,
and judged as the judge does. The best of all of them is luck: a network is sure of most pixels, so the optimum is flat,
and tens of samples move it to and fro. So every threshold next to the best counts that is not told from it: what the
samples lose by it, in the mean, is at most ``WHISKER`` standard errors of that mean (of pairs, since both thresholds
have the same samples). The middle of these is chosen, which is furthest from where it gets worse. With more samples the
whisker is shorter by itself, and it needs no unit.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeai.api import Case, ConfigError, DataRejected, Flags, Reals, Tensors
from edgeai_tasks.segment.circumferences import around, measures
from edgeai_tasks.segment.figures import overlap
from edgeai_tasks.segment.truth import source_mask
from edgeai_tasks.wishes import refused_wish

if TYPE_CHECKING:
    from edgeai_tasks.segment.task import Segment

DICE, CIRCUMFERENCE = "dice", "circumference"
THRESHOLDS: Final = tuple(round(0.01 * step, 2) for step in range(5, 96))
FEWEST: Final = 10
"""Samples with something to find without which nothing is chosen: the standard error would be luck as well."""
WHISKER: Final = 2.0
"""Standard errors: of what is told from the best less often than once in twenty. Measured, too: chosen by 20 of 209
heads, 600 times, a threshold lost 0.00016 Dice or 0.06 mm on the others, of the best for them; with one standard error
0.00025 and 0.07, by the best alone 0.00031 and 0.09."""
_ROUNDING: Final = 1e-12
_REMEDY: Final = f'threshold = "{DICE}" or "{CIRCUMFERENCE}"'


def check_wish(wish: Mapping[str, Any], *, ellipse: bool) -> None:
    """Nothing, where segment can choose that.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if strange := sorted(set(wish) - {"threshold"}):
        raise refused_wish("segment", strange[0], ["threshold"], remedy=_REMEDY)
    by = wish.get("threshold")
    if by not in (DICE, CIRCUMFERENCE):
        near = difflib.get_close_matches(str(by), [DICE, CIRCUMFERENCE], n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(
            f"[choice] threshold is {by!r}, by which segment chooses none{hint}",
            code="config.card-choice",
            remedy=_REMEDY,
        )
    if by == CIRCUMFERENCE and not ellipse:
        raise ConfigError(
            "[choice] a threshold by circumference is of models that measure one, and the option ellipse is false",
            code="config.card-choice",
            remedy=f'ellipse = true in [task.options], or threshold = "{DICE}"',
        )


def chosen(
    task: Segment, label: str, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]
) -> dict[str, Any]:
    """``thresholds`` of segment, for a wish that ``check_wish`` let pass.

    Args:
        task: of the card; its own thresholds do not count.
        label: that the masks are of.
        cases: whose masks are known.
        outputs: what the model gave for each.
        wish: ``threshold = "dice"`` or ``"circumference"``.

    Raises:
        DataRejected: ``data.fold-few``; a mask that cannot be used.
        TaskFailed: as ``Segment.interpret``.
    """
    filled = sum(bool(source_mask(case).any()) for case in cases)
    if filled < FEWEST:
        raise DataRejected(
            f"{filled} samples have {label}, and a threshold by {wish['threshold']} needs {FEWEST} at least",
            code="data.fold-few",
            remedy="more samples of it, or leave the option as the card says",
        )
    tasks = [task.at(threshold) for threshold in THRESHOLDS]
    rows = []
    for case, given, spacing in zip(cases, outputs, measures(cases)[0], strict=True):
        spread, worth = task.spread(given, case.context), _worth(wish["threshold"], source_mask(case), spacing)
        rows.append([worth(each.masks_of(spread)[label]) for each in tasks])
    return {"thresholds": {label: THRESHOLDS[middle_of_best(np.array(rows, np.float64))]}}


def middle_of_best(worth: Reals) -> int:
    """Which threshold is in the middle of those next to the best that are not told from it.

    Args:
        worth: (samples, thresholds): of each sample at each threshold, high where it is good.
    """
    best = int(worth.mean(axis=0).argmax())
    lost = worth[:, best, np.newaxis] - worth
    told = lost.mean(axis=0) > WHISKER * lost.std(axis=0, ddof=1) / np.sqrt(len(worth)) + _ROUNDING
    low = high = best
    while low > 0 and not told[low - 1]:
        low -= 1
    while high < len(told) - 1 and not told[high + 1]:
        high += 1
    return (low + high) // 2


def _worth(by: str, truth: Flags, spacing: tuple[float, float]) -> Callable[[Flags], float]:
    """What a mask is worth, as the judge measures it: a circumference that is missed is off by all of it."""
    if by == DICE:
        return lambda mask: overlap(truth, mask)[0]
    true = around(truth, spacing)
    return lambda mask: -abs(around(mask, spacing) - true)
