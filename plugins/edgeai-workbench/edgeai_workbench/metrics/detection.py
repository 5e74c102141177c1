"""Figures of boxes: mean average precision over IoU thresholds, and FROC.

mAP as COCO computes it (Lin et al., ECCV 2014): greedy matching by falling probability, precision made monotone, mean
over 101 recalls, over the thresholds 0.50, 0.55, ... 0.95 and over labels. FROC (Bunch et al. 1977): sensitivity at
given numbers of false positives an image, and their mean as in LUNA16 (Setio et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeai.api import EvaluationFailed
from edgeai_workbench.metrics.figure import Undefined, finite

Reals: TypeAlias = npt.NDArray[np.float64]
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
FALSE_POSITIVES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of one label in one image.

    Attributes:
        truth: (t, 4), x0, y0, x1, y1.
        found: (f, 4).
        probabilities: (f,).
    """

    truth: Reals
    found: Reals
    probabilities: Reals

    def __post_init__(self) -> None:
        finite("detection", self.truth, self.found, self.probabilities)
        shapes = (self.truth.shape[1:], self.found.shape[1:], len(self.found))
        if shapes != ((4,), (4,), len(self.probabilities)):
            raise EvaluationFailed("boxes are (n, 4), with a probability for each found one", code="evaluate.shapes")
        for boxes in (self.truth, self.found):
            if (boxes[:, 2:] < boxes[:, :2]).any():
                raise EvaluationFailed("a box ends before it begins", code="evaluate.shapes")


def iou(one: Reals, other: Reals) -> Reals:
    """(n, 4) and (m, 4) -> (n, m), 0 to 1."""
    low = np.maximum(one[:, np.newaxis, :2], other[np.newaxis, :, :2])
    high = np.minimum(one[:, np.newaxis, 2:], other[np.newaxis, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=-1)
    total = _area(one)[:, np.newaxis] + _area(other)[np.newaxis] - shared
    share: Reals = np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)
    return share


def average_precision(images: Sequence[Boxes], threshold: float) -> float:
    """Of one label at one IoU threshold.

    Raises:
        Undefined: no image has a true box.
    """
    hits, wanted = _hits(images, threshold)
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found / wanted, _RECALLS, side="left")
    reached = np.append(monotone, 0.0)[np.minimum(place, len(hits))]
    return float(reached.mean())


def mean_average_precision(labels: Sequence[Sequence[Boxes]], thresholds: Sequence[float] = IOU_THRESHOLDS) -> float:
    """Over labels (each a sequence of its images) and thresholds; labels without a true box are left out.

    Raises:
        Undefined: no label has a true box.
    """
    known = [images for images in labels if any(len(image.truth) for image in images)]
    if not known:
        raise Undefined("no image has a true box")
    return float(np.mean([average_precision(images, threshold) for images in known for threshold in thresholds]))


def froc(
    images: Sequence[Boxes], *, threshold: float = 0.5, false_positives: Sequence[float] = FALSE_POSITIVES
) -> tuple[Reals, float]:
    """(sensitivity at each number of false positives an image, their mean).

    Raises:
        Undefined: no image has a true box.
    """
    hits, wanted = _hits(images, threshold)
    sensitivity = np.concatenate(([0.0], np.cumsum(hits) / wanted))
    wrong = np.concatenate(([0.0], np.cumsum(~hits) / len(images)))
    place = np.searchsorted(wrong, np.asarray(false_positives), side="right") - 1
    reached: Reals = sensitivity[place]
    return reached, float(reached.mean())


def _hits(images: Sequence[Boxes], threshold: float) -> tuple[npt.NDArray[np.bool_], int]:
    """Whether each found box, by falling probability, meets a true one that none before it met; number of true ones."""
    wanted = sum(len(image.truth) for image in images)
    if not wanted:
        raise Undefined("no image has a true box")
    probabilities = np.concatenate([image.probabilities for image in images])
    met = np.concatenate([_met(image, threshold) for image in images])
    return met[np.argsort(-probabilities, kind="stable")].astype(bool), wanted


def _met(image: Boxes, threshold: float) -> npt.NDArray[np.bool_]:
    met = np.zeros(len(image.found), bool)
    if not len(image.truth):
        return met
    shared = iou(image.found, image.truth)
    for place in np.argsort(-image.probabilities, kind="stable"):
        best = int(shared[place].argmax())
        if shared[place, best] >= threshold:
            met[place] = True
            shared[:, best] = -1.0
    return met


def _area(boxes: Reals) -> Reals:
    area: Reals = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    return area
