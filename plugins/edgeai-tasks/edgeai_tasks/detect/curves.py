"""Precision and recall, and recall against false positives, of every resample.

Sources: Lin et al., *Microsoft COCO*, ECCV 2014, for the average precision: the mean of the precision at 101 recalls,
each the greatest at that recall or beyond; Bunch et al. 1978 for the FROC. Boxes of one score count together, so that
no order of images changes a figure, where pycocotools takes them in the images' order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from edgeai.api import Values, Weights
from edgeai_tasks.detect.matching import Matched

RECALLS: Final = 101
"""0, 0.01 ... 1."""
FPPI: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives an image at which a FROC is read (van Ginneken et al. 2010)."""
_ROUNDING: Final = 1e-12
_BLOCK: Final = 2_000_000
"""Cells of a table of weights that are worked on at once: bounds the memory of many resamples of many boxes."""


def average_precision(of: Matched, weights: Weights) -> Values:
    """(resamples,): NaN where a resample has no true box."""
    return _by_blocks(of, weights, _average_precision)


def recall_at(of: Matched, weights: Weights, bounds: Sequence[float]) -> Values:
    """(resamples,): mean over ``bounds`` of the greatest recall with no more false positives an image."""
    return _by_blocks(of, weights, lambda one, rows: _recall_at(one, rows, bounds))


def _by_blocks(of: Matched, weights: Weights, figure: Callable[[Matched, Weights], Values]) -> Values:
    step = max(1, _BLOCK // max(1, len(of.scores)))
    parts = [figure(of, weights[start : start + step]) for start in range(0, len(weights), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _sums(of: Matched, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of what is right and of what is wrong, at each distinct score and above: two of (resamples, scores)."""
    order = np.argsort(-of.scores, kind="stable")
    scores, right = of.scores[order], of.right[order]
    each = weights[:, of.image[order]]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.intp)
    hits, others = (np.cumsum(each * flags, axis=1)[:, ends] for flags in (right, ~right))
    return hits, others


def _average_precision(of: Matched, weights: Weights) -> Values:
    hits, others = _sums(of, weights)
    wanted = (weights @ of.wanted)[:, np.newaxis]
    counted = hits + others
    precision = np.divide(hits, counted, out=np.zeros_like(hits), where=counted > 0)
    beyond = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = np.divide(hits, wanted, out=np.zeros_like(hits), where=wanted > 0)
    # Of the recalls 0, 0.01 ... 1, those that are reached here and not at a higher score.
    reached = np.floor((recall + _ROUNDING) * (RECALLS - 1)) + 1
    area: Values = (beyond * np.diff(reached, axis=1, prepend=0.0)).sum(axis=1) / RECALLS
    area[wanted[:, 0] <= 0] = np.nan
    return area


def _recall_at(of: Matched, weights: Weights, bounds: Sequence[float]) -> Values:
    hits, others = _sums(of, weights)
    wanted, images = weights @ of.wanted, weights.sum(axis=1)
    none = np.zeros((len(weights), 1))
    hits, others = np.concatenate((none, hits), axis=1), np.concatenate((none, others), axis=1)
    recalls = [np.where(others <= bound * images[:, np.newaxis] + _ROUNDING, hits, 0.0).max(axis=1) for bound in bounds]
    mean: Values = np.mean(recalls, axis=0)
    recall: Values = np.divide(mean, wanted, out=np.full(len(weights), np.nan), where=wanted > 0)
    return recall
