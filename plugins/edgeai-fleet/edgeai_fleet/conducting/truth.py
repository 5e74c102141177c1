"""How a rollout stands, as retained messages: a summary, and for each site what each of its carts has shown.

Whoever conducts says it and everybody else reads it, so that each laptop sees the same. It carries no authority: what
carts do is in the signed documents alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from edgeai.rollouts import Rollout
from edgeai_fleet.conducting.judging import WORST_FIRST, Kept
from edgeai_fleet.conducting.phases import Decision, Standing

SCHEMA: Final = 1
PREFIX: Final = "edgeai/1/rollouts"
MOST_REASONS: Final = 50
MOST_CARTS: Final = 1000
"""Of a site in one message; the worst first, and it says how many are left out."""
_SOME: Final = 5
"""Names that stand for all of a group."""
_CASE: Final = re.compile(r"(?:\(|; )([^:;()]+): (?:off )?by [0-9]")
"""A golden case in the sentence of a rehearsal (``edgeai.model.golden``)."""
AGAIN_S: Final = 60.0
"""So often it is said though nothing changed: whoever reads it sees that somebody conducts."""
FRESH_S: Final = 5 * AGAIN_S
"""What one that signs has said is left alone for so long by one that does not."""


def summary(
    rollout: Rollout,
    decision: Decision,
    standings: Sequence[Standing],
    kept: Iterable[Kept],
    unseen: Sequence[str] = (),
    *,
    signs: bool,
    trouble: str,
) -> dict[str, Any]:
    """The message on ``edgeai/1/rollouts/<name>`` (``edgeai/schemas/conduct-1.json``), without its time."""
    plan = rollout.plan
    shares = [{"share": phase.share, "soak_s": phase.soak_s} for phase in plan.phases]
    return {
        "schema": SCHEMA,
        "rollout": rollout.name,
        "serial": rollout.serial,
        "state": rollout.state,
        "open": rollout.open,
        "model": plan.model,
        "release": plan.release,
        "digest": plan.digest,
        "select": msgspec.to_builtins(plan.select),
        "replaces": list(plan.replaces),
        "step": decision.step,
        "why": decision.why,
        "said": rollout.why,
        "signs": signs,
        "trouble": trouble,
        "phases": [
            {**share, "carts": standing.carts, **{name: getattr(standing, name) for name in WORST_FIRST}}
            for share, standing in zip(shares, standings, strict=True)
        ],
        "reasons": reasons(kept),
        "unseen": {"carts": len(unseen), "some": list(unseen[:_SOME])},
    }


def reasons(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    """Failures by reason, the most frequent first: code, one of the sentences, how many carts, and some of them; where
    rehearsals failed, on how many carts each golden case did.
    """
    groups: dict[str, list[Kept]] = defaultdict(list)
    bad = (each for each in kept if each.verdict.word in ("failed", "silent"))
    for each in sorted(bad, key=lambda each: (each.site, each.device)):
        groups[each.verdict.code].append(each)
    rows = [
        {
            "code": code,
            "why": group[0].verdict.why[:300],
            "carts": len(group),
            "some": [f"{each.site}/{each.device}" for each in group[:_SOME]],
            "cases": dict(Counter(case for each in group for case in golden_cases(each.verdict.why)).most_common(20)),
        }
        for code, group in groups.items()
    ]
    return sorted(rows, key=lambda row: (-int(str(row["carts"])), row["code"]))[:MOST_REASONS]


def golden_cases(why: str) -> list[str]:
    """The golden cases that a reason names."""
    return _CASE.findall(why) if "golden case" in why else []


def of_sites(rollout: Rollout, kept: Iterable[Kept]) -> dict[str, dict[str, Any]]:
    """By site the message on ``edgeai/1/rollouts/<name>/<site>``, without its time."""
    sites: dict[str, list[Kept]] = defaultdict(list)
    for each in kept:
        sites[each.site].append(each)
    return {site: _of_site(rollout, site, carts) for site, carts in sorted(sites.items())}


def _of_site(rollout: Rollout, site: str, carts: list[Kept]) -> dict[str, Any]:
    carts.sort(key=lambda each: (WORST_FIRST.index(each.verdict.word), each.device))
    rows = [
        {
            "device": each.device,
            "phase": each.phase,
            "word": each.verdict.word,
            "stage": each.verdict.stage[:100],
            "code": each.verdict.code[:100],
            "why": each.verdict.why[:150],
            "since": moment(each.since),
        }
        for each in carts[:MOST_CARTS]
    ]
    left_out = max(0, len(carts) - MOST_CARTS)
    return {"schema": SCHEMA, "rollout": rollout.name, "site": site, "carts": rows, "left_out": left_out}


def encode(body: Mapping[str, Any], at: float) -> bytes:
    """As it is sent."""
    return msgspec.json.encode({**body, "at": moment(at)})


class _Signed(msgspec.Struct):
    signs: bool
    at: str


def signed_at(body: bytes) -> float | None:
    """When one that signs said this summary; ``None`` for any other message."""
    try:
        told = msgspec.json.decode(body, type=_Signed)
        return datetime.fromisoformat(told.at).timestamp() if told.signs else None
    except (ValueError, RecursionError):
        return None


def moment(at: float) -> str:
    """RFC 3339, in whole seconds of UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def topic_of(name: str, site: str = "") -> str:
    """Where it is said."""
    return "/".join(filter(None, (PREFIX, name, site)))
