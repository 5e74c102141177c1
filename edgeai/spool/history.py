"""What happened lately, for ``edgeai status`` and health."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from edgeai.spool.rows import json_object
from edgeai.spool.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One job that is done. ``finished_at`` in seconds since the epoch."""

    deployment: str
    sop_instance_uid: str
    modality: str
    outcome: str
    code: str
    finished_at: float


@dataclass(frozen=True, slots=True)
class Lately:
    """How many of a deployment's last results make no statement of what is sound, and mostly by which code.

    That is what stands before its model withheld, and what its task or an abstention ended *indeterminate*.
    ``of`` is at most 50, and 0 where none of the device's last 400 results is this deployment's. Images about which its
    model was not asked, since another deployment had not said what this one requires, are no results of any: of the
    device's last 4000 ends they hide none. ``unasked`` counts them among the last ``ended``, 50 at most.
    """

    withheld: int = 0
    of: int = 0
    code: str = ""
    unasked: int = 0
    ended: int = 0

    def __str__(self) -> str:
        """``withheld 7 of the last 50, mostly guard.blank``; empty where nothing was."""
        return f"withheld {self.withheld} of the last {self.of}, mostly {self.code}" if self.withheld else ""


_LAST: Final = 50
_LOOKED_AT: Final = 400
"""Results, of all deployments together: what a look costs does not grow with what the spool remembers."""
_WALKED: Final = 10 * _LOOKED_AT
"""Ends, with those of images about which no model was asked: they are no results, and hide none."""
_OF_THE_HEADER: Final = "input."
_REQUIRES: Final = "requires."
_NO_STATEMENT: Final = ("not-applicable", "indeterminate")

_End: TypeAlias = tuple[str, str, str]
"""Deployment, outcome, and code or nothing."""


class History(Store):
    """What ``status`` reads."""

    def recent(self, limit: int) -> list[Finished]:
        """The jobs that finished last, newest first."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT j.deployment, i.sop_instance_uid, i.ref, j.outcome, j.code, j.finished_at FROM jobs AS j"
                " JOIN instances AS i ON i.id = j.instance WHERE j.state = 'done'"
                " ORDER BY j.finished_at DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Finished(
                deployment=deployment,
                sop_instance_uid=uid,
                modality=str((json_object(ref) or {}).get("modality", "")),
                outcome=outcome or "",
                code=code or "",
                finished_at=finished_at or 0.0,
            )
            for deployment, uid, ref, outcome, code, finished_at in rows
        ]

    def withheld_lately(self) -> Mapping[str, Lately]:
        """By deployment, where it has given a result lately."""
        with self.db.read() as db:
            ends = db.execute(
                "SELECT deployment, outcome, COALESCE(code, '') FROM jobs WHERE state = 'done'"
                " ORDER BY finished_at DESC LIMIT ?",
                (_WALKED,),
            )
            rows = list(_until_enough(ends))
        of: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        unasked: Counter[str] = Counter()
        codes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for deployment, outcome, code in rows:
            ended[deployment] += 1
            if _is_unasked(code):
                unasked[deployment] += ended[deployment] <= _LAST
                continue
            of[deployment] += 1
            is_withheld = outcome in _NO_STATEMENT and not code.startswith(_OF_THE_HEADER)
            if of[deployment] <= _LAST and is_withheld:
                codes[deployment][code] += 1
        return {
            name: Lately(
                withheld=codes[name].total(),
                of=min(of[name], _LAST),
                code=max(codes[name], key=codes[name].__getitem__, default=""),
                unasked=unasked[name],
                ended=min(count, _LAST),
            )
            for name, count in ended.items()
        }


def _is_unasked(code: str) -> bool:
    return code.startswith(_REQUIRES)


def _until_enough(ends: Iterable[_End]) -> Iterator[_End]:
    """Ends up to the one with which so many are results as are looked at."""
    results = 0
    for end in ends:
        yield end
        results += not _is_unasked(end[2])
        if results == _LOOKED_AT:
            return
