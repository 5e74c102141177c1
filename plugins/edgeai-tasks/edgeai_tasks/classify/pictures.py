"""What the report draws of a classifier: what it confuses, its curve, whether its probabilities are what happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import CrossTable, Curve, Drawing, Grid, Panel
from edgeai_tasks.classify.figures import Classified
from edgeai_tasks.extra import needed

_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Named:
    """One model: what it is called, and what it said; ``confusion`` where that is to be drawn."""

    name: str
    classified: Classified
    confusion: CrossTable | None


def drawings(models: Sequence[Named], label: str) -> list[Drawing]:
    """Confusion of those that have one, then both curves of all, of the last label."""
    grids = [_confusion(model.name, model.confusion) for model in models if model.confusion is not None]
    return [*grids, _roc(models, label), _calibration(models)]


def _confusion(name: str, grid: CrossTable) -> Drawing:
    counts = np.array(grid.counts)
    marks = Grid(
        shades=counts / np.maximum(1, counts.sum(axis=1, keepdims=True)),
        texts=[[str(count) for count in row] for row in counts],
        rows=grid.true,
        columns=grid.stated,
    )
    return Drawing(
        title=f"{name}: confusion",
        says="Validation samples; shades are shares of each true label.",
        panels=(Panel(marks=(marks,), x="stated", y="true"),),
    )


def _roc(models: Sequence[Named], label: str) -> Drawing:
    curve = needed("sklearn.metrics").roc_curve
    lines = []
    for model in models:
        false, true, _ = curve(model.classified.truth[:, -1], model.classified.probabilities[:, -1])
        lines.append(Curve(x=false, y=true, label=model.name))
    panel = Panel(marks=(*lines, _DIAGONAL), x="1 - specificity", y="sensitivity")
    return Drawing(title="ROC", says=f"Label {label} against the rest.", panels=(panel,))


def _calibration(models: Sequence[Named]) -> Drawing:
    curve = needed("sklearn.calibration").calibration_curve
    lines = []
    for model in models:
        probabilities = np.clip(model.classified.probabilities[:, -1], 0.0, 1.0)
        happened, said = curve(model.classified.truth[:, -1], probabilities, n_bins=_BINS, strategy="quantile")
        lines.append(Curve(x=said, y=happened, label=model.name, style="both"))
    panel = Panel(marks=(*lines, _DIAGONAL), x="probability that the model gives", y="how often it is so")
    says = "On the line, probabilities are what happens. Bins of equal count."
    return Drawing(title="Calibration", says=says, panels=(panel,))


_DIAGONAL = Curve(x=(0, 1), y=(0, 1), style="guide")
