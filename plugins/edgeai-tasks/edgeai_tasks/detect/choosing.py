"""A label's threshold, chosen on samples that no weight was trained on: by false positives an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgeai.api import ConfigError, DataRejected
from edgeai_tasks.detect.boxes import SAME, Boxes, Numbers
from edgeai_tasks.detect.candidates import FLOOR
from edgeai_tasks.detect.figures import fppi_of
from edgeai_tasks.detect.matching import Boxed, Matched, matched
from edgeai_tasks.wishes import refused_wish

FEWEST: Final = 10
"""Images, and false positives that the bound allows them all together, without which a threshold would be luck."""
_REMEDY: Final = 'threshold = "recall@fppi=0.5"'


def wished(wish: Mapping[str, Any]) -> float:
    """False positives an image that the wish allows.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if strange := sorted(set(wish) - {"threshold"}):
        raise refused_wish("detect", strange[0], ["threshold"], remedy=_REMEDY)
    bound = fppi_of(str(wish.get("threshold")))
    if not bound:
        raise ConfigError(
            f"[choice] threshold is {wish.get('threshold')!r}, by which detect chooses none",
            code="config.card-choice",
            remedy=_REMEDY,
        )
    return bound


def chosen(
    truths: Sequence[tuple[Boxes, Numbers]], answers: Sequence[Boxed], labels: Sequence[str], bound: float
) -> dict[str, Any]:
    """``thresholds`` of detect: of each label the lowest that keeps its false positives an image within ``bound``.

    Raises:
        DataRejected: ``data.fold-few``.
    """
    if len(answers) < FEWEST or bound * len(answers) < 1.0:
        raise DataRejected(
            f"{len(answers)} images do not show {bound:g} false positives an image",
            code="data.fold-few",
            remedy=f"{max(FEWEST, int(np.ceil(1 / bound)))} images at least, or leave the option as the card says",
        )
    thresholds = {}
    for place, label in enumerate(labels):
        of = matched(truths, answers, place, SAME)
        if of.wanted.sum() < FEWEST:
            raise DataRejected(
                f"{of.wanted.sum():g} true boxes are of {label}, and a threshold needs {FEWEST} at least",
                code="data.fold-few",
                remedy="more samples of it, or leave the option as the card says",
            )
        thresholds[label] = _lowest(of, bound * len(answers))
    return {"thresholds": thresholds}


def _lowest(of: Matched, allowed: float) -> float:
    """In the middle between the score that would be one false positive too many and the next above it."""
    wrong = np.sort(of.scores[~of.right])[::-1]
    most = int(np.floor(allowed + 1e-9))
    if len(wrong) <= most:
        return FLOOR
    too_many = float(wrong[most])
    above = of.scores[of.scores > too_many]
    upper = float(above.min()) if len(above) else 1.0
    return float(np.clip(round((too_many + upper) / 2, 4), max(FLOOR, np.nextafter(too_many, 1.0)), 1.0))
