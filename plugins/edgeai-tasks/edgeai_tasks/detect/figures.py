"""Figures of detectors, each a function of how often every image was drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np

from edgeai.api import HIGHER, LOWER, Figure, FigureUndefined, Flags, Reals, Share, Values, Weights
from edgeai_tasks.detect.boxes import SAME, Boxes, Numbers
from edgeai_tasks.detect.curves import FPPI, average_precision, recall_at
from edgeai_tasks.detect.matching import Boxed, Matched, best_overlap, matched

MAP50, MAP, LOCALISED, OVERLAP = "map50", "map50_95", "localised", "best_overlap"
RECALL, PRECISION, FALSE, FROC = "recall", "precision", "false_positives", "froc"
NAMES: Final = (MAP50, MAP, LOCALISED, OVERLAP, RECALL, PRECISION, FALSE, FROC)
OVERLAPS: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_NO_BOX: Final = "no image has a true box"


class Measured:
    """Answers against truths, matched when a figure is first asked for."""

    def __init__(self, truths: Sequence[tuple[Boxes, Numbers]], answers: Sequence[Boxed], labels: int) -> None:
        self._truths, self._answers, self._labels = truths, answers, labels
        self.matches: Callable[[int | None, float], Matched] = cache(
            lambda label, least: matched(truths, answers, label, least)
        )

    def figures(self) -> tuple[Figure, ...]:
        """All of ``NAMES``."""
        return (
            self._over(MAP50, lambda weights: self._map(weights, (SAME,))),
            self._over(MAP, lambda weights: self._map(weights, OVERLAPS)),
            self._share(LOCALISED, lambda: (self._best() > SAME).astype(np.float64), self._has, _NO_BOX),
            self._share(OVERLAP, self._best, self._has, _NO_BOX),
            self._share(RECALL, self._hits, self._wanted, _NO_BOX),
            self._share(PRECISION, self._hits, self._stated, "the model states no box"),
            self._share(FALSE, lambda: self._stated() - self._hits(), self._ones, "there are no images", better=LOWER),
            self._over(FROC, lambda weights: recall_at(self.matches(None, SAME), weights, FPPI)),
        )

    def of_label(self, label: int) -> dict[str, float]:
        """What a label's boxes alone determine."""
        own, once = self.matches(label, SAME), np.ones((1, len(self._answers)))
        values = {MAP50: float(average_precision(own, once)[0])}
        if own.wanted.sum() > 0:
            values[RECALL] = float((own.right & own.stated).sum() / own.wanted.sum())
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def point(self, name: str) -> Figure | None:
        """``recall@fppi=0.5``: the greatest recall of all thresholds with so many false positives an image at most."""
        bound = fppi_of(name)
        if bound is None:
            return None
        return self._over(name, lambda weights: recall_at(self.matches(None, SAME), weights, (bound,)))

    def _map(self, weights: Weights, least: Sequence[float]) -> Values:
        """Mean over the labels that have a true box anywhere, and over the overlaps."""
        known = [label for label in range(self._labels) if any((own == label).any() for _, own in self._truths)]
        each = [average_precision(self.matches(label, at), weights) for label in known for at in least]
        return np.mean(each, axis=0) if each else np.full(len(weights), np.nan)

    def _over(self, name: str, over: Callable[[Weights], Values]) -> Figure:
        def value() -> float:
            once = float(over(np.ones((1, len(self._answers))))[0])
            if np.isnan(once):
                raise FigureUndefined(f"{name}: {_NO_BOX}")
            return once

        return Figure(name=name, value=value, over=over)

    def _share(
        self, name: str, hits: Callable[[], Reals], among: Callable[[], Reals], lacks: str, better: str = HIGHER
    ) -> Figure:
        def over(weights: Weights) -> Values:
            part, whole = weights @ hits(), weights @ among()
            ratio: Values = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
            return ratio

        def value() -> float:
            once = float(over(np.ones((1, len(self._answers))))[0])
            if np.isnan(once):
                raise FigureUndefined(f"{name}: {lacks}")
            return once

        is_counted = name in (LOCALISED, RECALL, PRECISION) and bool(self._answers)
        return Figure(
            name=name, value=value, over=over, better=better, parts=(Share(hits(), among()),) if is_counted else ()
        )

    def _best(self) -> Reals:
        """Overlap of each image's best box; 0 where there is nothing true, which does not count."""
        pairs = zip(self._truths, self._answers, strict=True)
        return np.array([best_overlap(truth, answer) for truth, answer in pairs], np.float64)

    def _has(self) -> Reals:
        return (self._wanted() > 0).astype(np.float64)

    def _ones(self) -> Reals:
        return np.ones(len(self._answers))

    def _wanted(self) -> Reals:
        return np.array([len(boxes) for boxes, _ in self._truths], np.float64)

    def _hits(self) -> Reals:
        own = self.matches(None, SAME)
        return self._counted(own, own.right & own.stated)

    def _stated(self) -> Reals:
        own = self.matches(None, SAME)
        return self._counted(own, own.stated)

    def _counted(self, of: Matched, flags: Flags) -> Reals:
        counts: Reals = np.bincount(of.image[flags], minlength=len(self._answers)).astype(np.float64)
        return counts


def fppi_of(name: str) -> float | None:
    """The bound that ``recall@fppi=0.5`` spells; ``None`` where the name is none of that kind."""
    word, at, condition = name.partition("@")
    given, equals, bound = condition.partition("=")
    if word != RECALL or not at or given != "fppi" or not equals:
        return None
    try:
        value = float(bound)
    except ValueError:
        return None
    return value if 0.0 <= value < np.inf else None
