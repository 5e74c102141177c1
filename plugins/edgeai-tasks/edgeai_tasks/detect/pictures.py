"""What the report draws of a detector: recall against false positives, and the images that it gets worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from edgeai.api import Case, Curve, Drawing, Panel, Plane, Polyline
from edgeai_tasks.detect.boxes import SAME, Boxes, Numbers, corners
from edgeai_tasks.detect.curves import recall_at
from edgeai_tasks.detect.figures import Measured
from edgeai_tasks.detect.matching import Boxed, best_overlap

_WORST: Final = 6
_NAME: Final = 36
_TRUE, _MODEL = "#ffffff", "#4cc9f0"
_BOUNDS: Final = tuple(np.geomspace(0.01, 10.0, 61).tolist())


def froc(models: Mapping[str, Measured], images: int) -> Drawing:
    """Recall of each model at every rate of false positives."""
    once = np.ones((1, images))
    curves = []
    for name, measured in models.items():
        of = measured.matches(None, SAME)
        recalls = [float(recall_at(of, once, (bound,))[0]) for bound in _BOUNDS]
        if np.isfinite(recalls).all():
            curves.append(Curve(x=np.log10(_BOUNDS), y=recalls, label=name))
    panel = Panel(
        marks=(*curves, Curve(x=[-2.0, 1.0], y=[1.0, 1.0], style="guide")),
        x="false positives an image, as a power of ten",
        y="share of true boxes that are found",
    )
    says = f"A box counts from an overlap of {SAME:g} on. Higher is better; the left end is few false positives."
    return Drawing(title="Recall against false positives", says=says, panels=(panel,))


def worst_cases(
    name: str, cases: Sequence[Case], truths: Sequence[tuple[Boxes, Numbers]], answers: Sequence[Boxed]
) -> Drawing:
    """Those whose best box overlaps least, the worst first; of images without a true box those with most stated."""
    overlap = [
        best_overlap(truth, answer) if len(truth[0]) else 1.0 - min(1.0, 0.1 * float(answer.stated.sum()))
        for truth, answer in zip(truths, answers, strict=True)
    ]
    worst = np.argsort(overlap, kind="stable")[:_WORST]
    return Drawing(
        title=f"{name}: its worst cases",
        says="White: what is true; blue: what the model states.",
        panels=tuple(_panel(cases[n], truths[n][0], answers[n], overlap[n]) for n in worst),
        across=_WORST // 2,
        down=2,
        size_inches=(9.0, 5.0),
    )


def _panel(case: Case, true: Boxes, answer: Boxed, overlap: float) -> Panel:
    lines = [(box, _TRUE) for box in true] + [(box, _MODEL) for box in answer.of(answer.stated).boxes]
    rings = [Polyline(points=_ring(box), colour=colour) for box, colour in lines]
    name = case.id if len(case.id) <= _NAME else f"...{case.id[3 - _NAME :]}"
    says = f"overlap {overlap:.2f}" if len(true) else f"nothing there, {int(answer.stated.sum())} stated"
    return Panel(marks=(Plane(pixels=case.image()), *rings), title=f"{name}\n{says}", axes=False)


def _ring(box: Boxes) -> Boxes:
    ring = corners(box[np.newaxis])[0]
    return np.concatenate((ring, ring[:1]))
