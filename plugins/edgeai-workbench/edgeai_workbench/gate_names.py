"""Names in a card's ``[gates]``, held to those of the task's judge before anything is trained.

Hours of training that end in "the task has no metric auc" are lost. So the judge is asked for its figures without a
case: what they are called and which way they are better needs none.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgeai.api import HIGHER, LOWER, ConfigError, EdgeaiError, Judge, Judged
from edgeai.resolving import near_word
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import BY_METRIC, CEILINGS, FLOORS, hold_direction, margins_of


def check_metrics(gates: Gates, judge: Judge) -> None:
    """Nothing, where the judge has every figure and operating point that a bound names.

    A judge that names none without cases is held to its own word later, when there are answers.

    Raises:
        ConfigError: ``config.card-metric-unknown``; ``config.card-gate-direction``.
    """
    named = list(_named(gates))
    if not named:
        return
    try:
        judged = judge.judged((), ())
    except EdgeaiError:
        return
    better = {figure.name: figure.better for figure in judged.figures}
    if not better:
        return
    parts = {name for figures in judged.by_part.values() for name in figures}
    for gate, metric in named:
        if metric not in better and metric not in parts:
            better[metric] = _better_of_point(judged, gate, metric, [*better])
    for what, wrong in (*((name, LOWER) for name in FLOORS), *((name, HIGHER) for name in CEILINGS)):
        hold_direction(what, getattr(gates, what), wrong, better)


def _named(gates: Gates) -> Iterator[tuple[str, str]]:
    for gate in BY_METRIC:
        yield from ((gate, metric) for metric in getattr(gates, gate))
    yield from (("decision.margins", metric) for metric in margins_of(gates))


def _better_of_point(judged: Judged, gate: str, metric: str, known: list[str]) -> str:
    """Which way an operating point is better. Raises ``ConfigError`` where the judge has none of that name."""
    point = judged.point(metric)
    if point is not None:
        return point.better
    why = f"[gates] {gate}: the task has no metric {metric}"
    pair, at, bound = metric.rpartition("=")
    if at and judged.point(f"{pair}=0.5") is not None:
        why = f"[gates] {gate}: {metric} is no operating point, since {bound} is no value of {pair.rpartition('@')[2]}"
    elif near := _near(judged, metric, known):
        why += f"; did you mean {near!r}?"
    raise ConfigError(why, code="config.card-metric-unknown", remedy=f"use one of {', '.join(sorted(known))}")


def _near(judged: Judged, metric: str, known: list[str]) -> str:
    """What was meant; of an operating point, the one whose words are the near ones."""
    wanted, at, condition = metric.partition("@")
    given, equals, bound = condition.partition("=")
    if not at:
        return near_word(metric, known)
    meant = f"{_word(wanted, known)}@{_word(given, known)}{equals}{bound}"
    return meant if meant != metric and judged.point(meant) is not None else ""


def _word(word: str, known: list[str]) -> str:
    return word if word in known else near_word(word, known) or word
