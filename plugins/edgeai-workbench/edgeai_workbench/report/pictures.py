"""The report's pictures: where each artifact stands, what it gets wrong, how far to trust its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeai.api.judging import HIGHER
from edgeai_workbench.card import PARENT
from edgeai_workbench.comparison import Compared, Comparison, Figure, Row
from edgeai_workbench.extra import needed
from edgeai_workbench.report import Picture
from edgeai_workbench.report.drawing import drawn, drawn_of
from edgeai_workbench.workshop import Workshop

_COLOURS = ("#57606a", "#0969da", "#8250df", "#bc4c00", "#9a6700", "#1a7f37")
"""Of backends in the order in which they come; those behind the last share it."""
_LAYERS = 12
_NAME = 40


def pictures_of(shop: Workshop, compared: Compared) -> list[Picture]:
    """Where each stands, what quantisation disturbs, and what the task's judge wants drawn.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    pictures = [*_standing(compared.comparison), *_layers(compared.comparison)]
    if compared.scores and shop.validation is not None:
        ships = [row.id for row in compared.comparison.rows if row.ship]
        answers = {name: compared.answers[name].each for name in (PARENT, *ships)}
        drawings = shop.judge.pictures(shop.validation.cases(), answers, ships)
        pictures += [drawn_of(drawing) for drawing in drawings]
    return pictures


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
        metric.errorbar(value.value, place, xerr=reach, fmt="o", ms=5, color=_colour(row, rows), elinewidth=1.0)
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
    front = {row.id for row in pareto(rows, cost, lambda row: _goodness(row.figures[main]))}
    for place, row in zip(places, rows, strict=True):
        colour = _colour(row, rows)
        axes.hlines(place, 0, cost(row), color=colour, lw=1, alpha=0.5)
        axes.plot(cost(row), place, "o", ms=6, mec=colour, mfc=colour if row.id in front else "white")
    axes.set_xlim(left=0)


def _goodness(figure: Figure) -> float:
    return figure.value if figure.better == HIGHER else -figure.value


def _colour(row: Row, rows: Sequence[Row]) -> str:
    """One a backend; the parent's comes first."""
    backends = list(dict.fromkeys(each.backend for each in rows))
    return _COLOURS[min(backends.index(row.backend), len(_COLOURS) - 1)]


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
    return [_errors(row, _colour(row, comparison.rows)) for row in rows]


def _errors(row: Row, colour: str) -> Picture:
    worst = sorted(row.layers.items(), key=lambda item: item[1])[-_LAYERS:]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(worst))
        axes.barh(places, [error for _, error in worst], color=colour)
        axes.set_yticks(
            places, [name if len(name) <= _NAME else f"...{name[3 - _NAME :]}" for name, _ in worst], fontsize=7
        )
        axes.set_xlabel("RMS error / standard deviation")

    return drawn(f"{row.id}: layers", "Those that quantisation disturbs most.", draw)
