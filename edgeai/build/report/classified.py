"""Pictures of a classifier: what it confuses, its curve, and whether its probabilities are what happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeai.build.card import PARENT
from edgeai.build.comparison import Compared
from edgeai.build.extra import needed
from edgeai.build.report import Picture
from edgeai.build.report.drawing import drawn
from edgeai.build.workshop import Workshop

_BINS = 10


def classified(shop: Workshop, compared: Compared) -> list[Picture]:
    """Confusion of what ships, and ROC and calibration curves of the parent and what ships."""
    shipped = [row.id for row in compared.comparison.rows if row.ship]
    found = [picture for name in shipped for picture in _confusion(name, compared)]
    return [*found, _roc(shop, compared, [PARENT, *shipped]), _calibration(shop, compared, [PARENT, *shipped])]


def _confusion(name: str, compared: Compared) -> Iterable[Picture]:
    grid = compared.scores[name].confusion
    if grid is None:
        return
    counts = np.array(grid.counts)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=10, color=colour)
        axes.set_xticks(range(len(grid.stated)), grid.stated, rotation=30, ha="right")
        axes.set_yticks(range(len(grid.true)), grid.true)
        axes.set_xlabel("stated")
        axes.set_ylabel("true")

    yield drawn(
        f"{name}: confusion", "Validation samples; shades are shares of each true label.", draw, size=(4.6, 4.2)
    )


def _roc(shop: Workshop, compared: Compared, names: list[str]) -> Picture:
    truth, column = _truth(shop)
    curve = needed("sklearn.metrics").roc_curve

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name in names:
            false, true, _ = curve(truth, compared.answers[name].probabilities[:, column])
            axes.plot(false, true, label=name, lw=1.4)
        axes.plot([0, 1], [0, 1], ":", color="#888")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        _legend(figure)

    return drawn("ROC", f"Label {_label(compared, column)} against the rest.", draw, size=(4.6, 4.2))


def _calibration(shop: Workshop, compared: Compared, names: list[str]) -> Picture:
    truth, column = _truth(shop)
    curve = needed("sklearn.calibration").calibration_curve

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name in names:
            probabilities = np.clip(compared.answers[name].probabilities[:, column], 0.0, 1.0)
            happened, said = curve(truth, probabilities, n_bins=_BINS, strategy="quantile")
            axes.plot(said, happened, "o-", label=name, lw=1.2, ms=3.5)
        axes.plot([0, 1], [0, 1], ":", color="#888")
        axes.set_xlabel("probability that the model gives")
        axes.set_ylabel("how often it is so")
        _legend(figure)

    return drawn(
        "Calibration", "On the line, probabilities are what happens. Bins of equal count.", draw, size=(4.6, 4.2)
    )


def _legend(figure: Any) -> None:
    """Below the axes, where it covers no curve."""
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)


def _truth(shop: Workshop) -> tuple[Any, int]:
    """Whether the last label is true, (n,), and its column in the answers; a binary task's positive is its last."""
    assert shop.validation is not None
    return shop.validation.truth()[:, -1], -1


def _label(compared: Compared, column: int) -> str:
    return compared.answers[PARENT].labels[column]
