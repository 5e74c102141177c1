"""What the report draws of a classifier: what it confuses, its curve, whether its probabilities are what happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Case, CrossTable, Curve, Drawing, Grid, Panel, Plane
from edgeai_tasks.classify.figures import Classified
from edgeai_tasks.libraries import needed

_BINS = 10
_WORST = 6
_NAME = 36


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
        says=f"{counts.sum()} samples; shades are shares of each true label.",
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
        happened, stated = curve(model.classified.truth[:, -1], probabilities, n_bins=_BINS, strategy="quantile")
        lines.append(Curve(x=stated, y=happened, label=model.name, style="both"))
    panel = Panel(marks=(*lines, _DIAGONAL), x="probability that the model gives", y="how often it is so")
    says = "On the line, probabilities are what happens. Bins of equal count."
    return Drawing(title="Calibration", says=says, panels=(panel,))


def worst_cases(model: Named, cases: Sequence[Case], labels: Sequence[str]) -> Drawing | None:
    """What it gets wrong and is surest of, the surest first; ``None`` where nothing is wrong."""
    classified = model.classified
    given = np.where(classified.truth, classified.probabilities, 1.0 - classified.probabilities)
    doubt = given.min(axis=1)  # what it gave to what is true, of the label at which it erred most
    wrong = np.flatnonzero(~classified.right())
    worst = wrong[np.argsort(doubt[wrong], kind="stable")][:_WORST]
    if not len(worst):
        return None
    columns = labels[-1:] if classified.truth.shape[1] == 1 else labels
    panels = tuple(_wrong(cases[place], classified, place, columns) for place in worst)
    return Drawing(
        title=f"{model.name}: its worst cases",
        says=f"Of {len(wrong)} answers that are wrong, those of which it is surest.",
        panels=panels,
        across=_WORST // 2,
        down=-(-len(worst) // (_WORST // 2)),
        size_inches=(9.0, 2.6 * -(-len(worst) // (_WORST // 2))),
    )


def _wrong(case: Case, classified: Classified, place: int, labels: Sequence[str]) -> Panel:
    truth, probabilities = classified.truth[place], classified.probabilities[place]
    worst = int(np.argmax(np.where(truth, 1.0 - probabilities, probabilities)))
    name = case.id if len(case.id) <= _NAME else f"...{case.id[3 - _NAME :]}"
    told = f"{labels[worst]} {probabilities[worst]:.3f}, {'is' if truth[worst] else 'is not'} so"
    return Panel(marks=(Plane(pixels=case.image()),), title=f"{name}\n{told}", axes=False)


_DIAGONAL = Curve(x=(0, 1), y=(0, 1), style="guide")
