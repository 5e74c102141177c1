"""What the report draws of an autoencoder: its ROC curve, and where it errs in the images that it tells wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeai.api import Array, Case, Curve, Drawing, Flags, Panel, Plane
from edgeai_tasks.libraries import needed

_WORST = 6
_NAME = 36
_DRAWN = 128
"""Pixels of a drawn picture's longer side at most, where the model saw fewer."""
_HOTTEST = 99.5
"""Percentile of the errors of all that are drawn, which is drawn in full."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What was said of one image, and the errors (any rows, any columns) of all that the model saw."""

    score: float
    unusual: bool | None
    errors: Array


def drawings(
    models: Mapping[str, Sequence[Scored]], cases: Sequence[Case], ships: Collection[str], labels: Sequence[str]
) -> list[Drawing]:
    """ROC of all, and of each that ships its worst cases."""
    truth = np.array([bool(case.truth) for case in cases])
    worst = [_worst(name, each, cases, labels) for name, each in models.items() if name in ships]
    return worst if truth.all() or not truth.any() else [_roc(models, truth, labels), *worst]


def _roc(models: Mapping[str, Sequence[Scored]], truth: Flags, labels: Sequence[str]) -> Drawing:
    curve = needed("sklearn.metrics").roc_curve
    lines = []
    for name, each in models.items():
        false, true, _ = curve(truth, [one.score for one in each])
        lines.append(Curve(x=false, y=true, label=name))
    guide = Curve(x=(0, 1), y=(0, 1), style="guide")
    return Drawing(
        title="ROC",
        says=f"{labels[1]} against {labels[0]}, by the score.",
        panels=(Panel(marks=(*lines, guide), x="1 - specificity", y="sensitivity"),),
    )


def _worst(name: str, each: Sequence[Scored], cases: Sequence[Case], labels: Sequence[str]) -> Drawing:
    """Unusual ones of the least score, and usual ones of the greatest, in turn."""
    order = np.argsort([one.score for one in each], kind="stable")
    missed = [place for place in order if cases[place].truth][: _WORST // 2]
    alarms = [place for place in order[::-1] if not cases[place].truth][: _WORST // 2]
    places = [*missed, *alarms]
    top = float(np.percentile(np.concatenate([each[place].errors.ravel() for place in places]), _HOTTEST)) or 1.0
    return Drawing(
        title=f"{name}: its worst cases",
        says=f"What is {labels[1]} and scores least, and what is {labels[0]} and scores most; the hotter, the larger "
        "the error.",
        panels=tuple(_panel(cases[place], each[place], labels, top) for place in places),
        across=min(_WORST // 2, len(places)),
        size_inches=(9.0, 2.9 * -(-len(places) // (_WORST // 2))),
    )


def _panel(case: Case, one: Scored, labels: Sequence[str], top: float) -> Panel:
    name = case.id if len(case.id) <= _NAME else f"...{case.id[3 - _NAME :]}"
    told = "not decided" if one.unusual is None else f"called {labels[one.unusual]}"
    title = f"{name}\n{labels[bool(case.truth)]}, {told}, score {one.score:.3g}"
    return Panel(marks=(Plane(pixels=heated(underneath(case), one.errors / top)),), title=title, axes=False)


def underneath(case: Case) -> Array:
    """(rows, columns) or (rows, columns, colours): the image where the model saw it, black beyond its border.

    What the model saw may be no picture (its structure, say), or one of few pixels, each of which is drawn as several.
    """
    frame, image = case.context.frame, case.image()
    times = max(1, _DRAWN // max(frame.rows, frame.columns))
    rows, columns = np.indices((frame.rows * times, frame.columns * times)) + 0.5
    points = frame.geometry.to_source(np.stack((columns.ravel(), rows.ravel()), axis=1) / times)
    column, row = np.floor(points).astype(int).T
    inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
    drawn = np.zeros((rows.size, *image.shape[2:]), image.dtype)
    drawn[inside] = image[row[inside], column[inside]]
    return drawn.reshape(*rows.shape, *image.shape[2:])


def heated(picture: Array, heat: Array) -> Array:
    """(rows, columns, 3) uint8: a picture in grey, under heat of 0 to 1 from nothing over red to yellow.

    Args:
        picture: (rows, columns) or (rows, columns, colours), of any range.
        heat: (fewer rows, fewer columns), of the same extent.
    """
    grey = np.asarray(picture, np.float64)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    grey = (grey - grey.min()) / ((grey.max() - grey.min()) or 1.0)
    rows, columns = grey.shape
    step = -(-max(rows, columns) // max(heat.shape))
    spread = np.clip(heat, 0.0, 1.0).repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns, np.newaxis]
    colour = np.concatenate((np.ones_like(spread), spread, np.zeros_like(spread)), axis=2)
    mixed = grey[..., np.newaxis] * (1.0 - spread) + colour * spread
    heat_over_grey: Array = np.round(255.0 * mixed).astype(np.uint8)
    return heat_over_grey
