"""Figures of circumferences: how far that of the mask's ellipse is from that of the truth's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeai.api import LOWER, Case, Figure, Flags, Reals, Values, Weights
from edgeai_tasks.segment.ellipse import of_source
from edgeai_tasks.segment.truth import source_mask
from edgeai_tasks.weighted import weighted_median

ERROR, PERCENT = "circumference_error", "circumference_percent"


class Circumferences:
    """Computed when a figure is first asked for. What is missed, or is none, is off by all of it."""

    def __init__(
        self,
        cases: Sequence[Case],
        masks: Sequence[Callable[[], Flags]],
        spacings: Sequence[tuple[float, float]],
        unit: str,
    ) -> None:
        self._given = list(zip(cases, masks, spacings, strict=True))
        self._unit = unit
        self._values: dict[str, Reals] = {}

    def figures(self) -> tuple[Figure, ...]:
        """The median error: as a length, and in hundredths of what is true."""
        return self._figure(ERROR, self._unit), self._figure(PERCENT, "%")

    def _figure(self, name: str, unit: str) -> Figure:
        def over(weights: Weights) -> Values:
            return weighted_median(self._of(name), weights)

        return Figure(name=name, value=lambda: float(np.median(self._of(name))), over=over, better=LOWER, unit=unit)

    def _of(self, name: str) -> Reals:
        if not self._values:
            pairs = np.array(
                [(around(source_mask(case), size), around(mask(), size)) for case, mask, size in self._given]
            )
            error = np.abs(pairs[:, 1] - pairs[:, 0])
            self._values = {ERROR: error, PERCENT: 100.0 * error / np.maximum(pairs.max(axis=1), 1e-9)}
            known = pairs[:, 0] > 0
            self._values[PERCENT][known] = 100.0 * error[known] / pairs[known, 0]
        return self._values[name]


def measures(cases: Sequence[Case]) -> tuple[list[tuple[float, float]], str]:
    """How large each image's pixels are, and in what: in ``mm`` where every image says it, else ``px``, each 1."""
    spacings = [case.context.frame.geometry.spacing_mm() for case in cases]
    known = [spacing for spacing in spacings if spacing is not None]
    return (known, "mm") if len(known) == len(spacings) else ([(1.0, 1.0)] * len(spacings), "px")


def around(mask: Flags, spacing: tuple[float, float]) -> float:
    """The circumference of its ellipse; 0 of nothing."""
    ellipse = of_source(mask, spacing)
    return ellipse.circumference if ellipse else 0.0
