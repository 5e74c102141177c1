"""What probabilities are worth, before the card's temperature and as they are stated.

The temperature is taken back from the stated probabilities themselves (softmax and sigmoid can be turned round), so
that both are of the very same answers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeai.api import Flags, Reals, Reliability, ReliabilityBin
from edgeai_tasks.classify.figures import CALIBRATION_BINS, Classified, places

_LEAST = 1e-12


def reliability(classified: Classified, temperature: float) -> tuple[Reliability, ...]:
    """Before the temperature, where there is one, and as stated; bins of equal width, as ``ece`` has them."""
    stated = "as stated" if temperature == 1.0 else f"as stated, with the temperature of {temperature:g}"
    after = _of(classified, stated)
    if temperature == 1.0:
        return (after,)
    raw = before(classified.probabilities, temperature, exclusive=classified.mode == "multi-class")
    return _of(replace(classified, probabilities=raw), "before the temperature"), after


def before(probabilities: Reals, temperature: float, *, exclusive: bool) -> Reals:
    """What the same logits give without it, (n, columns); ``exclusive`` where each row sums to 1."""
    safe = np.clip(probabilities, _LEAST, 1.0 - _LEAST)
    if exclusive:
        powers: Reals = np.exp(temperature * np.log(safe))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers
    odds = np.log(safe) - np.log1p(-safe)
    given: Reals = 0.5 * (1.0 + np.tanh(0.5 * temperature * odds))
    return given


def _of(classified: Classified, name: str) -> Reliability:
    truth, stated = _answers(classified)
    place = places(stated, CALIBRATION_BINS)
    bins = tuple(
        ReliabilityBin(
            said=float(stated[place == number].mean()),
            happened=float(truth[place == number].mean()),
            samples=int((place == number).sum()),
        )
        for number in np.unique(place)
    )
    error = next(figure for figure in classified.figures() if figure.name == "ece").value()
    return Reliability(name=name, bins=bins, error=error)


def _answers(classified: Classified) -> tuple[Flags, Reals]:
    """Whether each was true, and what was said: the most probable of labels that exclude one another, else all."""
    truth, probabilities = classified.truth, classified.probabilities
    if classified.mode == "multi-class":
        rows, top = np.arange(len(truth)), probabilities.argmax(axis=1)
        return truth[rows, top], probabilities[rows, top]
    return truth.ravel(), probabilities.ravel()
