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
        for axes, place in zip(figure.subplots(2, _WORST // 2).ravel(), worst, strict=False):
            sample = prepared.samples[place]
            axes.imshow(sample.load()[0].pixels, cmap="gray")
            axes.contour(prepared.mask(place), [0.5], colors="#2da44e", linewidths=1.2)
            if answers.mask(place, label).any():
                axes.contour(answers.mask(place, label), [0.5], colors="#cf222e", linewidths=1.0)
            axes.set_title(f"{sample.id}: {dice[place]:.3f}", fontsize=7)
            axes.set_axis_off()

    says = "Green: the label; red: the model. The number is Dice."
    return drawn(f"{name}: its worst cases", says, draw, size=(9.0, 5.0))
