"""The Pareto front: models that no other beats in both of two things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from edgeai.api import HIGHER
from edgeai.bundle.evidence import Candidate, Estimate

Item = TypeVar("Item")
SIZE = "size"
TIME = "time"


def pareto(rows: Iterable[Item], cost: Callable[[Item], float], value: Callable[[Item], float]) -> list[Item]:
    """The rows that no other beats in both, cheapest first."""
    front: list[Item] = []
    for row in sorted(rows, key=lambda row: (cost(row), -value(row))):
        if not front or value(row) > value(front[-1]):
            front.append(row)
    return front


def costs(row: Candidate) -> dict[str, float]:
    """What a model costs, of what is known."""
    known = {SIZE: row.bytes, TIME: None if row.time is None else row.time.median_ms}
    return {name: float(cost) for name, cost in known.items() if cost is not None}


def fronts(rows: Iterable[Candidate], main: str) -> dict[str, tuple[str, ...]]:
    """Cost -> ids of the models on its front, by the main figure."""
    judged = [row for row in rows if main in row.figures and row.figures[main].value is not None]
    named = dict.fromkeys(name for row in judged for name in costs(row))
    return {
        name: tuple(
            row.id
            for row in pareto(
                [row for row in judged if name in costs(row)],
                lambda row, name=name: costs(row)[name],  # type: ignore[misc]
                lambda row: goodness(row.figures[main]),
            )
        )
        for name in named
    }


def goodness(figure: Estimate) -> float:
    """More is better, whichever way the figure goes."""
    value = float("nan") if figure.value is None else figure.value
    return value if figure.better == HIGHER else -value
