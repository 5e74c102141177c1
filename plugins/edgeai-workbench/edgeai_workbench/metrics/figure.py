"""What a metric is here: ``edgeai.api.Figure``, and what says that samples do not determine one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeai.api import HIGHER, LOWER, EvaluationFailed, Figure
from edgeai.api import FigureUndefined as Undefined

__all__ = ["HIGHER", "LOWER", "Figure", "Undefined", "by_name", "finite"]


def by_name(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Figure by its name, in order."""
    return {figure.name: figure for figure in figures}


def finite(name: str, *arrays: object) -> None:
    """Refuse what is not a number.

    Raises:
        EvaluationFailed: ``evaluate.not-finite``.
    """
    for array in arrays:
        if not np.isfinite(np.asarray(array, dtype=np.float64)).all():
            raise EvaluationFailed(
                f"{name}: a value is not finite",
                code="evaluate.not-finite",
                remedy="see which sample the model answers with NaN or infinity",
            )
