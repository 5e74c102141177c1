"""Of boxes that overlap, the one with the highest score: what is left are detections, not votes for them.

Sources: Felzenszwalb et al. 2010 for the greedy form; Bodla, Singh, Chellappa and Davis, *Soft-NMS*, ICCV 2017, for the
two that lower scores in place of taking boxes away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgeai_tasks.detect.boxes import overlaps
from edgeai_tasks.detect.candidates import FLOOR, Candidates

KINDS = ("hard", "linear", "gaussian", "no")
_Share = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """How it is done.

    Attributes:
        kind: one of ``KINDS``; ``no`` where the model did it itself.
        overlap: intersection over union above which a box is taken away, or its score lowered (not for ``gaussian``).
        sigma: of ``gaussian``: the lower, the more a score falls.
        across_labels: whether boxes of different labels compete.
        most: detections at most.
    """

    kind: str
    overlap: float = 0.5
    sigma: float = 0.5
    across_labels: bool = False
    most: int = 100

    def kept(self, among: Candidates) -> Candidates:
        """What is left, the highest score first, with the score that is left of it."""
        if self.kind == "no":
            return among.taken(np.argsort(-among.scores, kind="stable")[: self.most])
        left = _LEFT[self.kind]
        scores = among.scores.copy()
        places: list[int] = []
        final: list[float] = []
        while len(places) < self.most and len(scores) and (best := float(scores.max())) >= FLOOR:
            top = int(scores.argmax())
            places.append(top)
            final.append(best)
            scores[top] = -1.0
            rest = scores >= FLOOR
            if not self.across_labels:
                rest &= among.labels == among.labels[top]
            if rest.any():
                shares = overlaps(among.boxes[top : top + 1], among.boxes[rest])[0]
                scores[rest] *= left(self, shares)
        kept = among.taken(np.array(places, np.intp))
        return Candidates(kept.boxes, np.array(final, np.float64), kept.labels)


_LEFT: Mapping[str, Callable[[Suppression, _Share], _Share]] = MappingProxyType(
    {
        "hard": lambda by, share: (share <= by.overlap).astype(np.float64),
        "linear": lambda by, share: np.where(share > by.overlap, 1.0 - share, 1.0),
        "gaussian": lambda by, share: np.exp(-(share**2) / by.sigma),
    }
)
"""Overlap with a box of a higher score -> how much of its own score a box keeps."""
