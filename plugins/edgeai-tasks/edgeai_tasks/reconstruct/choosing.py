"""The threshold of the score, chosen on samples that no weight was trained on: at a stated share that is accepted.

It is the bound of the scores of usual samples (``conformal``), which so many of the usual ones to come do not exceed.
What is unusual chooses nothing: what comes on a cart is of more kinds than any table has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from edgeai.api import ConfigError, Reals
from edgeai_tasks.conformal import bound_of
from edgeai_tasks.wishes import refused_wish

_REMEDY: Final = 'threshold = "accept=0.98"'


def check_wish(wish: Mapping[str, Any]) -> float:
    """The share of usual images that are to be accepted.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if strange := sorted(set(wish) - {"threshold"}):
        raise refused_wish("reconstruct", strange[0], ["threshold"], remedy=_REMEDY)
    word, _, number = str(wish.get("threshold")).partition("=")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if word != "accept" or not 0.5 <= share < 1.0:
        raise ConfigError(
            f"[choice] threshold is {wish.get('threshold')!r}, by which reconstruct chooses none",
            code="config.card-choice",
            remedy=_REMEDY,
        )
    return share


def chosen(scores: Reals, share: float, label: str) -> dict[str, Any]:
    """``threshold`` of reconstruct.

    Args:
        scores: (n,), of usual samples.
        share: that is to be accepted.
        label: what the card calls them.

    Raises:
        DataRejected: ``data.fold-few``.
    """
    return {
        "threshold": bound_of(scores, share, what=f"are {label}", wanted=f"a threshold that accepts {share:g} needs")
    }
