"""The report's pictures: where each artifact stands, what it gets wrong, how far to trust its probabilities."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edgeai.bundle.evidence import Candidate, Estimate, Evidence, Trial
from edgeai_workbench.card import PARENT
from edgeai_workbench.comparison import Compared
from edgeai_workbench.fronts import SIZE, TIME, costs, goodness, pareto
from edgeai_workbench.libraries import needed
from edgeai_workbench.report import Picture
from edgeai_workbench.report.drawing import drawn, drawn_of
from edgeai_workbench.report.words import listed, samples_of
from edgeai_workbench.spread import NO_SPREAD, flat
from edgeai_workbench.workshop import Workshop

__all__ = ["draw_front", "draw_standing", "pareto", "pictures_of"]

_COLOURS = ("#57606a", "#0969da", "#8250df", "#bc4c00", "#9a6700", "#1a7f37")
"""Of backends in the order in which they come; those behind the last share it."""
_LAYERS = 12
_NAME = 40
_LINE = 150


def pictures_of(shop: Workshop, compared: Compared, evidence: Evidence) -> list[Picture]:
    """Where each stands, what probabilities are worth, what quantisation disturbs, and what the judge wants drawn.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    trial = evidence.trials[0]
    pictures = [*_standing(trial), *_front(trial), *_reliability(evidence.trials[-1]), *_layers(trial)]
    if compared.scores and shop.validation is not None:
        ships = [row.id for row in trial.models if row.ship]
        answers = {name: compared.answers[name].each for name in (PARENT, *ships)}
        drawings = shop.judge.pictures(shop.validation.cases(), answers, ships)
        pictures += [
            msgspec.structs.replace(picture, says=f"On the {samples_of(trial)}. {picture.says}")
            for picture in (drawn_of(drawing) for drawing in drawings)
        ]
    return pictures


def _judged(trial: Trial) -> list[Candidate]:
    return [row for row in trial.models if trial.main in row.figures and row.figures[trial.main].value is not None]


def _standing(trial: Trial) -> list[Picture]:
    rows = _judged(trial)
    if not rows:
        return []
    says = (
        f"On the {samples_of(trial)}. A line a model; those that ship are bold. {_whiskers(rows, trial.main)}"
        f"The dotted line is the parent. Filled: no other has a better {trial.main} and is smaller, or faster."
    )
    size = (9.6, 1.3 + 0.3 * len(rows))
    split = trial.split
    return [drawn("Where each stands", says, lambda figure: draw_standing(figure, rows, trial.main, split), size=size)]


def draw_standing(figure: Any, rows: Sequence[Candidate], main: str, split: str = "") -> None:
    """The main metric, size and time of each model side by side; each has a line of its own, so no names collide."""
    known = [cost for cost in (SIZE, TIME) if any(cost in costs(row) for row in rows)]
    metric, *others = np.atleast_1d(
        figure.subplots(1, 1 + len(known), sharey=True, width_ratios=(1.3, *(1 for _ in known)))
    )
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        value, reach = _reach(row.figures[main])
        metric.errorbar(value, place, xerr=reach, fmt="o", ms=5, color=_colour(row, rows), elinewidth=1.0)
    metric.axvline(rows[0].figures[main].value, ls=":", lw=1, color="#888")
    metric.set_xlabel(f"{main}, {split}" if split else main)
    metric.set_yticks(places, [_short(row.id) for row in rows], fontsize=8)
    for label, row in zip(metric.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.ship else "normal")
    for axes, cost in zip(others, known, strict=True):
        _costs(axes, rows, places, cost, main)
    for axes in (metric, *others):
        axes.xaxis.set_major_locator(needed("matplotlib.ticker").MaxNLocator(4))
        axes.grid(visible=True, axis="x", alpha=0.25)
        axes.margins(y=0.05)


def _costs(axes: Any, rows: Sequence[Candidate], places: Any, cost: str, main: str) -> None:
    front = {row.id for row in _on_front(rows, cost, main)}
    for place, row in zip(places, rows, strict=True):
        if cost in costs(row):
            colour = _colour(row, rows)
            axes.hlines(place, 0, _spent(row, cost), color=colour, lw=1, alpha=0.5)
            filled = colour if row.id in front else "white"
            axes.plot(_spent(row, cost), place, "o", ms=6, mec=colour, mfc=filled)
    axes.set_xlim(left=0)
    axes.set_xlabel(_AXES[cost])


def _front(trial: Trial) -> list[Picture]:
    rows = _judged(trial)
    known = [cost for cost in (SIZE, TIME) if cost in trial.fronts]
    if len(rows) < 2 or not known:
        return []
    says = (
        f"On the {samples_of(trial)}. {trial.main} against {listed(known)}, each on a scale of ratios. "
        f"{_whiskers(rows, trial.main)}The line joins what no other beats in both; models are numbered as in the table."
    )
    split = trial.split
    return [
        drawn("The front", says, lambda figure: draw_front(figure, rows, trial.main, known, split), size=(9.6, 4.2))
    ]


def draw_front(figure: Any, rows: Sequence[Candidate], main: str, known: Sequence[str], split: str) -> None:
    """Quality with its interval against each cost; numbers stand for the models, in their order."""
    for axes, cost in zip(np.atleast_1d(figure.subplots(1, len(known), sharey=True)), known, strict=True):
        for number, row in enumerate(rows):
            if cost not in costs(row):
                continue
            value, reach = _reach(row.figures[main])
            axes.errorbar(_spent(row, cost), value, yerr=reach, fmt="o", ms=5, color=_colour(row, rows), elinewidth=0.8)
            axes.annotate(
                str(number), (_spent(row, cost), value), xytext=(4, 4), textcoords="offset points", fontsize=8
            )
        line = _on_front(rows, cost, main)
        axes.plot(
            [_spent(row, cost) for row in line], [row.figures[main].value for row in line], lw=1, color="#888", zorder=0
        )
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(needed("matplotlib.ticker").NullFormatter())
        axes.set_xlabel(_AXES[cost])
        axes.grid(visible=True, alpha=0.25)
        axes.set_ylabel(f"{main}, {split}" if cost == known[0] else "")
    names = "    ".join(f"{number} {_short(row.id)}" for number, row in enumerate(rows))
    figure.supxlabel(textwrap.fill(names, _LINE), fontsize=7)


_AXES = {SIZE: "size, kB", TIME: "time, ms"}


def _on_front(rows: Sequence[Candidate], cost: str, main: str) -> list[Candidate]:
    known = [row for row in rows if cost in costs(row)]
    return pareto(known, lambda row: costs(row)[cost], lambda row: goodness(row.figures[main]))


def _spent(row: Candidate, cost: str) -> float:
    return costs(row)[cost] / (1e3 if cost == SIZE else 1.0)


def _reach(figure: Estimate) -> tuple[float, list[list[float]]]:
    """The value, and how far its interval reaches below and above."""
    value = figure.value or 0.0
    low, high = (value if end is None else end for end in (figure.low, figure.high))
    return value, [[max(0.0, value - low)], [max(0.0, high - value)]]


def _whiskers(rows: Sequence[Candidate], main: str) -> str:
    if any(row.figures[main].low is None for row in rows):
        return ""
    alike = [row.id for row in rows if flat(row.figures[main].low, row.figures[main].high)]
    if alike:
        return f"Whiskers are 95 % intervals; {listed(alike)}: {NO_SPREAD}. "
    used = dict.fromkeys(row.figures[main].method for row in rows if row.figures[main].method)
    return f"Whiskers are 95 % intervals{f' ({listed(list(used))})' if used else ''}. "


def _reliability(trial: Trial) -> list[Picture]:
    rows = [row for row in trial.models if row.ship and row.reliability]
    return [_reliability_of(row, trial) for row in rows]


def _reliability_of(row: Candidate, trial: Trial) -> Picture:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot((0, 1), (0, 1), ":", color="#888")
        for each in row.reliability:
            error = "" if each.error is None else f", ECE {each.error:.3f}"
            stated, happened = ([getattr(one, what) for one in each.bins] for what in ("said", "happened"))
            axes.plot(stated, happened, "-", lw=1, label=f"{each.name}{error}")
            most = max(one.samples for one in each.bins)
            axes.scatter(stated, happened, s=[8 + 60 * one.samples / most for one in each.bins])
        axes.set_xlabel("probability that the model gives")
        axes.set_ylabel("how often it is so")
        axes.legend(fontsize=7, frameon=False)

    says = f"On the {samples_of(trial)}; larger dots are of more of them. On the dotted line, what is said happens."
    return drawn(f"{row.id}: what its probabilities are worth", says, draw, size=(4.6, 4.2))


def _colour(row: Candidate, rows: Sequence[Candidate]) -> str:
    """One a backend; the parent's comes first."""
    backends = list(dict.fromkeys(each.backend for each in rows))
    return _COLOURS[min(backends.index(row.backend), len(_COLOURS) - 1)]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def _layers(trial: Trial) -> list[Picture]:
    rows = [row for row in trial.models if row.layers]
    return [_errors(row, _colour(row, trial.models)) for row in rows]


def _errors(row: Candidate, colour: str) -> Picture:
    known = [(name, error) for name, error in row.layers.items() if error is not None]
    worst = sorted(known, key=lambda item: item[1])[-_LAYERS:]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(worst))
        axes.barh(places, [error for _, error in worst], color=colour)
        axes.set_yticks(
            places, [name if len(name) <= _NAME else f"...{name[3 - _NAME :]}" for name, _ in worst], fontsize=7
        )
        axes.set_xlabel("RMS error / standard deviation")

    says = "Those that quantisation disturbs most, over the calibration samples, which are of train."
    return drawn(f"{row.id}: layers", says, draw)
