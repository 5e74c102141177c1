"""``[training] balanced``: which training samples are shown equally often, and how often that makes each."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
from pydantic import BeforeValidator

from edgeai.api import Array, Case, ConfigError, Judge

if TYPE_CHECKING:
    from edgeai_workbench.dataset import Sample


def _balanced(value: object) -> object:
    if not isinstance(value, bool) and not (isinstance(value, str) and value):
        raise ValueError("neither true nor false, nor the name of a subgroup")
    return value


Balanced: TypeAlias = Annotated[bool | str, BeforeValidator(_balanced)]
"""Not, by what the judge calls a stratum (a label), or by the values of a subgroup."""


class Balance:
    """The samples by what they are to be shown equally often in: places in the table, for each value.

    A sample that has no value of the subgroup (nobody knows its size) is of none, and shown once.

    Raises:
        ConfigError: ``build.balanced``: no sample has such a subgroup.
    """

    def __init__(self, balanced: Balanced, samples: Sequence[Sample], cases: Sequence[Case], judge: Judge) -> None:
        places: dict[Hashable, list[int]] = {}
        if isinstance(balanced, str):
            check_balanced(balanced, zip(samples, cases, strict=True), judge)
            for place, (sample, case) in enumerate(zip(samples, cases, strict=True)):
                places.setdefault(_subgroups(sample, case, judge).get(balanced, ""), []).append(place)
        else:
            for place, case in enumerate(cases):
                places.setdefault(judge.stratum(case), []).append(place)
        self._once = np.array(places.pop("", []) if isinstance(balanced, str) else [], int)
        self._kinds = [np.array(members) for members in places.values()]

    def epoch(self, random: np.random.Generator) -> Array:
        """Places with each value as often as the most frequent: whole times, and the rest drawn anew each epoch."""
        most = max(map(len, self._kinds), default=0)
        parts = [
            part
            for members in self._kinds
            for part in (
                np.repeat(members, most // len(members)),
                random.choice(members, most % len(members), replace=False),
            )
        ]
        return np.concatenate([*parts, self._once])


def check_balanced(balanced: Balanced, samples: Iterable[tuple[Sample, Case]], judge: Judge) -> None:
    """Nothing, where a sample has the subgroup; no more of them are looked at than it takes to find one.

    Raises:
        ConfigError: ``build.balanced``.
    """
    if not isinstance(balanced, str):
        return
    known: dict[str, None] = {}
    for sample, case in samples:
        known |= dict.fromkeys(_subgroups(sample, case, judge))
        if balanced in known:
            return
    near = difflib.get_close_matches(balanced, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    raise ConfigError(
        f"[training] balanced is {balanced!r}, and no training sample has such a subgroup{hint}",
        code="build.balanced",
        remedy=f"the samples have {', '.join(known) or 'none'}; name a column in subgroups of [dataset.train], or say "
        "balanced = true, which goes by label",
    )


def _subgroups(sample: Sample, case: Case, judge: Judge) -> dict[str, str]:
    """As reports tell samples apart."""
    return {**judge.subgroups(case), **sample.subgroups}
