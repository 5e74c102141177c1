"""Temperature and thresholds, chosen on samples that no weight was trained on.

The temperature is the one of the greatest likelihood (Guo et al., ICML 2017), of targets that are a little unsure as
those of Platt 1999 are: n samples that are all told right do not say that the model is never wrong. A threshold is the
one of all that keeps the other figure at what is wished, and has the most of the wished one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from edgeai.api import ConfigError, DataRejected, Flags, Reals
from edgeai_tasks.classify.options import ClassifyOptions
from edgeai_tasks.classify.probabilities import logits_of
from edgeai_tasks.libraries import needed
from edgeai_tasks.wishes import refused_wish

FEWEST: Final = 10
"""Samples of either kind without which nothing is chosen."""
_LOWEST, _HIGHEST = 0.05, 20.0
_FIGURES = ("sensitivity", "specificity")
_ROUNDING = 1e-12


def check_wish(options: ClassifyOptions, wish: Mapping[str, Any]) -> tuple[str, float] | None:
    """The operating point that is wished for, if any; nothing, where classify can choose that.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if strange := sorted(set(wish) - {"temperature", "threshold"}):
        remedy = "choose temperature, threshold or both"
        raise refused_wish("classify", strange[0], ["temperature", "threshold"], remedy=remedy)
    if wish.get("temperature", True) is not True:
        raise _wish("temperature is asked for with true", "temperature = true, or leave it out")
    return _point(wish["threshold"], options) if "threshold" in wish else None


def chosen(truth: Flags, values: Reals, options: ClassifyOptions, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Options of classify.

    Args:
        truth: (n, values): which are true.
        values: (n, values): as the model gave them.
        options: of the card; its temperature and thresholds do not count.
        wish: ``temperature = true``, ``threshold = "sensitivity@specificity=0.9"``.

    Raises:
        ConfigError: ``config.card-choice``.
        DataRejected: ``data.fold-few``.
    """
    point = check_wish(options, wish)
    names = options.names[-1:] if options.mode == "binary" else options.names
    made: dict[str, Any] = {}
    logits = logits_of(values, options)
    temperature = options.temperature
    if "temperature" in wish:
        _enough(truth, names, (FEWEST, FEWEST), "a temperature")
        temperature = made["temperature"] = _temperature(truth, logits, exclusive=options.mode == "multi-class")
    if point is not None:
        wanted, least = point
        kept = FEWEST if least >= 1.0 else max(FEWEST, math.ceil(1 / (1 - least) - 1e-9))
        fewest = (FEWEST, kept) if wanted == _FIGURES[0] else (kept, FEWEST)
        _enough(truth, names, fewest, f"a threshold by {wish['threshold']}")
        probabilities = 0.5 * (1.0 + np.tanh(0.5 * logits / temperature))
        columns = zip(names, truth.T, probabilities.T, strict=True)
        made["thresholds"] = {name: _threshold(true, given, wanted, least) for name, true, given in columns}
    return made


def _temperature(truth: Flags, logits: Reals, *, exclusive: bool) -> float:
    search: Any = needed("scipy.optimize").minimize_scalar
    special: Any = needed("scipy.special")
    count = truth.sum(axis=0)
    if exclusive:
        sure = ((count + 1) / (count + 2))[truth.argmax(axis=1)][:, np.newaxis]
        target = np.where(truth, sure, (1 - sure) / (truth.shape[1] - 1))

        def loss(scale: float) -> float:
            return -float((target * special.log_softmax(logits / math.exp(scale), axis=1)).sum())
    else:
        target = np.where(truth, (count + 1) / (count + 2), 1 / (len(truth) - count + 2))

        def loss(scale: float) -> float:
            scaled = logits / math.exp(scale)
            return -float((target * special.log_expit(scaled) + (1 - target) * special.log_expit(-scaled)).sum())

    least = search(loss, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded", options={"xatol": 1e-5})
    return round(math.exp(float(least.x)), 4)


def _threshold(truth: Flags, probability: Reals, wanted: str, least: float) -> float:
    """In the middle of the widest gap between probabilities of all that are as good, with the fewest digits."""
    known = np.unique(probability)
    below, above = np.concatenate(([0.0], known)), np.concatenate((known, [1.0]))
    stated = probability[:, np.newaxis] >= (known if len(known) else 0.0)
    none = np.zeros((len(truth), 1), bool)
    stated = np.hstack((stated, none))
    sensitivity = (stated & truth[:, np.newaxis]).sum(axis=0) / truth.sum()
    specificity = (~stated & ~truth[:, np.newaxis]).sum(axis=0) / (~truth).sum()
    reached, held = (sensitivity, specificity) if wanted == _FIGURES[0] else (specificity, sensitivity)
    allowed = (held >= least - _ROUNDING) & (above > below)
    allowed[0] = held[0] >= least - _ROUNDING  # at a probability of 0 all are stated, too
    best = np.where(allowed, reached, -1.0)
    order = np.lexsort((above - below, held, best))
    low, high = float(below[order[-1]]), float(above[order[-1]])
    middle = (low + high) / 2
    for digits in range(2, 16):
        if low < round(middle, digits) <= high:
            return round(middle, digits)
    return middle


def _point(wish: Any, options: ClassifyOptions) -> tuple[str, float]:
    """(the figure that is to be great, the least that the other keeps)."""
    remedy = 'threshold = "sensitivity@specificity=0.9", or the reverse'
    if options.mode == "multi-class":
        raise _wish(
            "of labels that exclude one another the most probable is stated: there is no threshold",
            'leave threshold out; or train one output with mode = "binary", whose threshold is chosen',
        )
    wanted, _, condition = str(wish).partition("@")
    given, _, bound = condition.partition("=")
    try:
        least = float(bound)
    except ValueError:
        least = math.nan
    if {wanted, given} != set(_FIGURES) or not 0.0 < least <= 1.0:
        raise _wish(f"threshold is {wish!r}, which is no operating point", remedy)
    return wanted, least


def _enough(truth: Flags, names: tuple[str, ...], fewest: tuple[int, int], what: str) -> None:
    """Whether there are so many that a label is true of, and so many that it is not."""
    for name, true in zip(names, truth.T, strict=True):
        kinds = ((f"{name}", int(true.sum())), (f"other than {name}", int((~true).sum())))
        for (kind, count), least in zip(kinds, fewest, strict=True):
            if count < least:
                raise DataRejected(
                    f"{count} samples are {kind}, and {what} needs {least} at least",
                    code="data.fold-few",
                    remedy="more samples of it, or leave the option as the card says",
                )


def _wish(why: str, remedy: str) -> ConfigError:
    return ConfigError(f"[choice] {why}", code="config.card-choice", remedy=remedy)
