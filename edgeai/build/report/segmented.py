"""Pictures of a segmenter: the samples that it gets worst, outlined."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeai.build.comparison import Compared
from edgeai.build.metrics.segmentation import overlap
from edgeai.build.report import Picture
from edgeai.build.report.drawing import drawn
from edgeai.build.workshop import Workshop

_WORST = 6
_NAME = 36
_LABEL, _MODEL = "#ffffff", "#4cc9f0"


def segmented(shop: Workshop, compared: Compared) -> list[Picture]:
    """The worst cases of each artifact that ships."""
    return [_worst(shop, compared, row.id) for row in compared.comparison.rows if row.ship]


def _worst(shop: Workshop, compared: Compared, name: str) -> Picture:
    prepared, answers = shop.validation, compared.answers[name]
    assert prepared is not None
    label = answers.labels[0]
    dice = [overlap(prepared.mask(place), answers.mask(place, label))[0] for place in range(len(answers))]
    worst = np.argsort(np.nan_to_num(dice))[:_WORST]

    def draw(figure: Any) -> None:
        every = figure.subplots(2, _WORST // 2).ravel()
        for axes in every:
            axes.set_axis_off()
        for axes, place in zip(every, worst, strict=False):
            sample = prepared.samples[place]
            axes.imshow(sample.load()[0].pixels, cmap="gray")
            axes.contour(prepared.mask(place), [0.5], colors=_LABEL, linewidths=1.2, linestyles="dashed")
            if answers.mask(place, label).any():
                axes.contour(answers.mask(place, label), [0.5], colors=_MODEL, linewidths=1.0)
            axes.set_title(f"{_short(str(sample.id))}\nDice {dice[place]:.3f}", fontsize=7)

    says = "White and dashed: the label; blue: the model."
    return drawn(f"{name}: its worst cases", says, draw, size=(9.0, 5.0))


def _short(name: str) -> str:
    """As much of a name as fits above its image."""
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"
