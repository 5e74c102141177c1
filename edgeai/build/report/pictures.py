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

_COLOURS = {"keras": "#57606a", "tflite": "#0969da", "openvino": "#8250df", "gpu": "#1a7f37"}
_LAYERS = 12


def pictures_of(shop: Workshop, compared: Compared) -> list[Picture]:
    """Every picture that this task has.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    found = list(_fronts(compared.comparison))
    found += _layers(compared.comparison)
    if shop.card.task.name == "classify" and compared.scores:
        found += classified(shop, compared)
    if shop.card.task.name == "segment" and compared.scores:
        found += segmented(shop, compared)
    return found


def _fronts(comparison: Comparison) -> list[Picture]:
    if not comparison.main:
        return []
    size = drawn(
        f"{comparison.main} by size",
        "Each point is a model; the line joins those that no other beats in both. Whiskers are 95 % intervals.",
        lambda figure: _front(figure, comparison, lambda row: row.bytes / 1e3, "size, kB"),
    )
    time = drawn(
        f"{comparison.main} by time",
        "Median time of one inference with one thread, taken in turn with the others.",
        lambda figure: _front(figure, comparison, lambda row: row.ms, "ms"),
    )
    return [size, time]


def _front(figure: Any, comparison: Comparison, cost: Callable[[Row], float], unit: str) -> None:
    axes = figure.subplots()
    rows = [row for row in comparison.rows if comparison.main in row.figures]
    for row in rows:
        value = row.figures[comparison.main]
        reach = [[max(0.0, value.value - value.low)], [max(0.0, value.high - value.value)]]
        axes.errorbar(
            cost(row),
            value.value,
            yerr=reach,
            fmt="*" if row.ship else "o",
            ms=11 if row.ship else 6,
            color=_COLOURS.get(row.backend, "#9a6700"),
            elinewidth=0.7,
            alpha=0.9,
        )
        axes.annotate(
            row.id, (cost(row), value.value), xytext=(4, 4), textcoords="offset points", fontsize=7, rotation=30
        )
    front = pareto(rows, cost, lambda row: row.figures[comparison.main].value)
    axes.plot(
        [cost(row) for row in front], [row.figures[comparison.main].value for row in front], "--", color="#8888", lw=1
    )
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_formatter(needed("matplotlib.ticker").FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(needed("matplotlib.ticker").NullFormatter())
    axes.set_xlabel(unit)
    axes.set_ylabel(comparison.main)
    axes.grid(visible=True, alpha=0.2)


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
        axes.barh(places, [error for _, error in worst], color=_COLOURS.get(row.backend, "#9a6700"))
        axes.set_yticks(places, [name if len(name) <= 40 else f"...{name[-37:]}" for name, _ in worst], fontsize=7)
        axes.set_xlabel("RMS error / standard deviation")

    return drawn(f"{row.id}: layers", "Those that quantisation disturbs most.", draw)
