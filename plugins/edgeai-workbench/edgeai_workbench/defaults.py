"""Gates for a card that names none: what no artifact may be that anyone ships without having thought about it.

An artifact whose answer is the same whatever it is shown agrees with everything in a table of sizes and times; one
that decides otherwise than its parent is another model. Of a variant (pruned, distilled) only the first is asked: what
it may cost, its card argues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from edgeai.api import Array, Infer, Tensors
from edgeai_workbench.gates import Measured, Verdict

MIN_SPREAD: Final = 0.05
"""Least share of the spread of its Keras model's answers over the samples."""
MAX_DROP: Final = 0.05
MIN_AGREEMENT: Final = 0.95
_CONSTANT: Final = 1e-4
"""Answers that differ by less than this part of their size do not differ."""


class Watched:
    """An inference function, and how far its answers to different inputs lie apart."""

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._inputs: dict[str, tuple[Array, Array]] = {}
        self._outputs: dict[str, tuple[Array, Array]] = {}

    def __call__(self, inputs: Tensors) -> Tensors:
        """One inference."""
        outputs = self._infer(inputs)
        _widen(self._inputs, inputs)
        _widen(self._outputs, outputs)
        return outputs

    @property
    def asked(self) -> bool:
        """Whether it was shown different inputs."""
        return any((low != high).any() for low, high in self._inputs.values())

    @property
    def spread(self) -> dict[str, float]:
        """Output -> the farthest that one of its values moved; 0 where that is nothing beside its size."""
        spread = {}
        for name, (low, high) in self._outputs.items():
            size = float(max(np.abs(low).max(initial=0.0), np.abs(high).max(initial=0.0)))
            moved = float((high - low).max(initial=0.0))
            spread[name] = moved if moved > _CONSTANT * size else 0.0
        return spread


def constant(parent: Watched) -> bool:
    """Whether a model answers the same to all that it was shown."""
    return parent.asked and not any(parent.spread.values())


def default_verdicts(
    measured: Measured, own: Watched, model: Watched, *, of_parent: bool, main: str
) -> tuple[Verdict, ...]:
    """What the default gates say of an artifact.

    Args:
        measured: of the artifact, against the parent.
        own: it, as it was asked of the samples.
        model: its Keras model, likewise.
        of_parent: whether that is the parent.
        main: the metric that counts; empty where nobody says what is true.
    """
    verdicts = [_least("min_spread", MIN_SPREAD, _share(own.spread, model.spread))] if model.asked else []
    if of_parent:
        if main in measured.drops:
            drop = measured.drops[main]
            # Without an interval there is nothing to say; the decisions below say it.
            if np.isfinite(drop):
                verdicts.append(
                    Verdict(gate=f"max_drop.{main}", bound=MAX_DROP, found=drop, holds=bool(drop <= MAX_DROP))
                )
        verdicts.append(_least("min_agreement", MIN_AGREEMENT, measured.agreement))
    return tuple(verdicts)


def _share(own: Mapping[str, float], model: Mapping[str, float]) -> float:
    """The least share of its model's spread that any output has; 0 where the model itself is constant."""
    shares = [own[name] / spread for name, spread in model.items() if spread > 0]
    return min(shares, default=0.0)


def _least(gate: str, bound: float, value: float) -> Verdict:
    return Verdict(gate=gate, bound=bound, found=value, holds=bool(value >= bound))


def _widen(ends: dict[str, tuple[Array, Array]], tensors: Tensors) -> None:
    for name, array in tensors.items():
        value = array.astype(np.float64)
        low, high = ends.get(name, (value, value))
        ends[name] = (np.minimum(low, value), np.maximum(high, value))
