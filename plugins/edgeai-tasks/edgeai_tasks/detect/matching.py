"""Which boxes of a model are of which true ones: image by image, so that no image's weight changes another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeai.api import Flags, Reals
from edgeai_tasks.detect.boxes import Boxes, Numbers, overlaps


@dataclass(frozen=True, slots=True, eq=False)
class Boxed:
    """Of one image: boxes (n, 4) in source pixels, the highest score first, scores, labels, and which are stated."""

    boxes: Boxes
    scores: Reals
    labels: Numbers
    stated: Flags

    def of(self, which: Flags) -> Boxed:
        """Some of them."""
        return Boxed(self.boxes[which], self.scores[which], self.labels[which], self.stated[which])


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """All boxes of one label in all images, at one least overlap.

    Attributes:
        image: (n,) which image each is in.
        scores: (n,).
        stated: (n,).
        right: (n,) whether it is of a true box that no box with a higher score is of.
        wanted: (images,) how many true boxes there are.
    """

    image: Numbers
    scores: Reals
    stated: Flags
    right: Flags
    wanted: Reals


def matched(
    truths: Sequence[tuple[Boxes, Numbers]], answers: Sequence[Boxed], label: int | None, least: float
) -> Matched:
    """Hold answers against truths as COCO does: boxes by falling score, each to the free true box it overlaps most.

    Args:
        truths: of each image (n, 4) and the places of their labels.
        answers: of each image.
        label: of which label; ``None``: of all, each against its own.
        least: intersection over union from which a box is of a true one.
    """
    rights, wanted = [], []
    kept = [answer if label is None else answer.of(answer.labels == label) for answer in answers]
    for (boxes, labels), answer in zip(truths, kept, strict=True):
        own = slice(None) if label is None else labels == label
        rights.append(right_ones(boxes[own], labels[own], answer, least))
        wanted.append(len(boxes[own]))
    return Matched(
        image=np.repeat(np.arange(len(kept)), [len(answer.scores) for answer in kept]),
        scores=np.concatenate([answer.scores for answer in kept]) if kept else np.zeros(0),
        stated=np.concatenate([answer.stated for answer in kept]) if kept else np.zeros(0, bool),
        right=np.concatenate(rights) if rights else np.zeros(0, bool),
        wanted=np.array(wanted, np.float64),
    )


def right_ones(boxes: Boxes, labels: Numbers, answer: Boxed, least: float) -> Flags:
    """(n,): which boxes of an image are right; each true box makes one right at most."""
    shares = overlaps(answer.boxes, boxes)
    shares = np.where(answer.labels[:, np.newaxis] == labels[np.newaxis, :], shares, -1.0)
    right, free = np.zeros(len(answer.scores), bool), np.ones(len(boxes), bool)
    for place in np.flatnonzero((shares >= least).any(axis=1)):
        left = np.where(free, shares[place], -1.0)
        best = int(left.argmax())
        if left[best] >= least:
            right[place], free[best] = True, False
    return right


def best_overlap(truth: tuple[Boxes, Numbers], answer: Boxed) -> float:
    """Of the stated box with the highest score, with the true box of its label that it overlaps most; else 0."""
    stated = answer.of(answer.stated)
    if not len(stated.scores):
        return 0.0
    boxes, labels = truth
    own: npt.NDArray[np.float64] = overlaps(stated.boxes[:1], boxes[labels == stated.labels[0]])
    return float(own.max(initial=0.0))
