"""The report's pictures: where each artifact stands, what it gets wrong, how far to trust its probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeai.build.comparison import Compared, Comparison, Row
from edgeai.build.extra import needed
from edgeai.build.report import Picture
from edgeai.build.report.classified import classified
from edgeai.build.report.drawing import drawn
from edgeai.build.report.segmented import segmented
from edgeai.build.workshop import Workshop

_COLOURS = {"keras": "#57606a", "tflite": "#0969da", "openvino": "#8250df", "gpu": "#bc4c00"}
_LAYERS = 12
_NAME = 40


def pictures_of(shop: Workshop, compared: Compared) -> list[Picture]:
    """Every picture that this task has.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    found = list(_standing(compared.comparison))
    found += _layers(compared.comparison)
    if shop.card.task.name == "classify" and compared.scores:
        found += classified(shop, compared)
    if shop.card.task.name == "segment" and compared.scores:
        found += segmented(shop, compared)
    return found


def _standing(comparison: Comparison) -> list[Picture]:
    if not comparison.main:
        return []
    rows = [row for row in comparison.rows if comparison.main in row.figures]
    says = (
        "A line a model; those that ship are bold. Whiskers are 95 % intervals; the dotted line is the parent. "
        f"Filled: no other has a better {comparison.main} and is smaller, or faster. "
        "Times are medians of one inference on one thread."
    )
    size = (9.6, 1.3 + 0.3 * len(rows))
    return [drawn("Where each stands", says, lambda figure: draw_standing(figure, rows, comparison.main), size=size)]


def draw_standing(figure: Any, rows: list[Row], main: str) -> None:
    """The main metric, size and time of each model side by side; each has a line of its own, so no names collide."""
    metric, size, time = figure.subplots(1, 3, sharey=True, width_ratios=(1.3, 1, 1))
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        value = row.figures[main]
        reach = [[max(0.0, value.value - value.low)], [max(0.0, value.high - value.value)]]
        metric.errorbar(value.value, place, xerr=reach, fmt="o", ms=5, color=_colour(row), elinewidth=1.0)
    metric.axvline(rows[0].figures[main].value, ls=":", lw=1, color="#888")
    metric.set_xlabel(main)
    metric.set_yticks(places, [_short(row.id) for row in rows], fontsize=8)
    for label, row in zip(metric.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.ship else "normal")
    _costs(size, rows, places, lambda row: row.bytes / 1e3, main)
    size.set_xlabel("size, kB")
    _costs(time, rows, places, lambda row: row.ms, main)
    time.set_xlabel("time, ms")
    for axes in (metric, size, time):
        axes.xaxis.set_major_locator(needed("matplotlib.ticker").MaxNLocator(4))
        axes.grid(visible=True, axis="x", alpha=0.25)
        axes.margins(y=0.05)


def _costs(axes: Any, rows: list[Row], places: Any, cost: Callable[[Row], float], main: str) -> None:
    front = {row.id for row in pareto(rows, cost, lambda row: row.figures[main].value)}
    for place, row in zip(places, rows, strict=True):
        axes.hlines(place, 0, cost(row), color=_colour(row), lw=1, alpha=0.5)
        filling = _colour(row) if row.id in front else "white"
        axes.plot(cost(row), place, "o", ms=6, mec=_colour(row), mfc=filling)
    axes.set_xlim(left=0)


def _colour(row: Row) -> str:
    return _COLOURS.get(row.backend, "#9a6700")


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def pareto(rows: list[Row], cost: Callable[[Row], float], value: Callable[[Row], float]) -> list[Row]:
    """The rows that no other beats in both, cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (cost(row), -value(row))):
        if not front or value(row) > value(front[-1]):
            front.append(row)
    return front


def _layers(comparison: Comparison) -> list[Picture]:
    rows = [row for row in comparison.rows if row.layers]
    return [_errors(row) for row in rows]


def _errors(row: Row) -> Picture:
    worst = sorted(row.layers.items(), key=lambda item: item[1])[-_LAYERS:]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(worst))
        axes.barh(places, [error for _, error in worst], color=_colour(row))
        axes.set_yticks(
            places, [name if len(name) <= _NAME else f"...{name[3 - _NAME :]}" for name, _ in worst], fontsize=7
        )
        axes.set_xlabel("RMS error / standard deviation")

    return drawn(f"{row.id}: layers", "Those that quantisation disturbs most.", draw)
