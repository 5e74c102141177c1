"""Half widths of intervals, by split conformal prediction, on samples that no weight was trained on.

Lei et al. 2018: an interval as wide on either side as the bound of the errors (``conformal``) holds what is true in
``coverage`` of all cases at least, whatever the errors look like. By size (Mondrian; Vovk et al. 2005) this is so for
each size that is stated by itself. Answers out of the plausible range count for nothing: no interval is stated of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgeai.api import ConfigError, Reals
from edgeai_tasks.conformal import bound_of
from edgeai_tasks.regress.figures import Measured
from edgeai_tasks.regress.options import Value
from edgeai_tasks.sizes import place_of, size_of
from edgeai_tasks.wishes import refused_wish

_WISHES: Final = ("interval", "by_size")
_REMEDY: Final = "interval = 0.9, and by_size = true where each size of a value is to have its own"


def check_wish(values: Sequence[Value], wish: Mapping[str, Any]) -> float:
    """The coverage that is wished for, where regress can choose that.

    Raises:
        ConfigError: ``config.card-choice``.
    """
    if strange := sorted(set(wish) - set(_WISHES)):
        raise refused_wish("regress", strange[0], _WISHES, remedy=_REMEDY)
    coverage, by_size = wish.get("interval"), wish.get("by_size", False)
    if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0.5 <= coverage < 1.0:
        raise _wish(f"interval is {coverage!r}, which is no coverage from 0.5 to below 1")
    if not isinstance(by_size, bool):
        raise _wish(f"by_size is {by_size!r}, not true or false")
    if by_size and not any(value.sizes for value in values):
        raise _wish("by_size is of values with sizes, and none has any")
    return float(coverage)


def chosen(values: Sequence[Value], measured: Sequence[Measured], wish: Mapping[str, Any]) -> dict[str, Any]:
    """``intervals`` of regress, for a wish that ``check_wish`` lets pass.

    Args:
        values: of the card; their own intervals do not count.
        measured: of each, the samples that choose.
        wish: ``interval = 0.9``, ``by_size = true``.

    Raises:
        ConfigError: ``config.card-choice``.
        DataRejected: ``data.fold-few``.
    """
    coverage = check_wish(values, wish)
    made = {}
    for value, samples in zip(values, measured, strict=True):
        sizes = value.sizes if wish.get("by_size", False) else ()
        answers, errors = samples.answers[samples.stated], np.abs(samples.error)[samples.stated]
        places = np.array([place_of(answer, sizes) for answer in answers], int)
        half = []
        for place in range(len(sizes) + 1):
            what = value.name if not sizes else f"{value.name} {_size_at(value, place)}"
            half.append(half_width(errors[places == place], coverage, what))
        made[value.name] = {"coverage": coverage, "half": half}
    return {"intervals": made}


def half_width(errors: Reals, coverage: float, what: str) -> float:
    """The least that holds so many of the samples to come, rounded up.

    Args:
        errors: (n,), none below 0.
        coverage: above 0, below 1.
        what: they are of, for messages.

    Raises:
        DataRejected: ``data.fold-few``: of so few none can be said.
    """
    return bound_of(errors, coverage, what=f"state {what}", wanted=f"intervals of {coverage:g} need")


def _size_at(value: Value, place: int) -> str:
    ends = (value.low, *value.sizes)
    return size_of(ends[place], value.sizes, value.unit)


def _wish(why: str) -> ConfigError:
    return ConfigError(f"[choice] {why}", code="config.card-choice", remedy=_REMEDY)
