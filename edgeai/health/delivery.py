"""Problems of sinks and of the ledger: would a result leave, and is everything accounted for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from edgeai.health.account import SinkHealth, age_s
from edgeai.health.catalogue import Problem, problem
from edgeai.health.facts import Facts

RESULTS: Final = "result"
"""The lane of results."""
STATUS: Final = "status"
"""The lane of the device's own status, of which a sink holds one."""
STUCK_S: Final = 60.0
"""A message that is this old while nothing left meanwhile, with a sink that says that all is well."""


def delivery_problems(facts: Facts) -> Iterator[Problem]:
    """Sinks that do not take what there is."""
    publish = facts.notes.get("publish")
    if publish is not None and publish.state != "starting":  # until then it has not said anything of any sink
        words = facts.detail("publish", "sinks")
        for sink in facts.sinks:
            yield from _sink(facts, sink, words.get(sink.name))
    if not facts.sinks:
        yield problem("sink.none", "the profile enables no sink: results stay on this device")
    for entry in facts.books.ledger.messages:
        if entry.aside:
            message = f"sink {entry.sink} has refused messages of the lane {entry.lane} for good; they are set aside"
            yield problem(
                "messages.set-aside",
                message,
                about=entry.sink,
                since=entry.oldest_aside_at,
                messages=entry.aside,
                oldest_s=age_s(entry.oldest_aside_at, facts.now) or 0.0,
            )


def _sink(facts: Facts, sink: SinkHealth, word: Mapping[str, Any] | None) -> Iterator[Problem]:
    oldest = max(sink.oldest_s.values(), default=0.0)
    if word is None:
        yield problem("sink.unknown", f"no allowed plugin provides the sink {sink.name}", about=sink.name)
        return
    if word.get("taken"):
        message = f"another device uses this one's identity at the broker of sink {sink.name}"
        yield problem("identity.taken", message, about=sink.name, cause=sink.code or "", since=sink.since)
    elif sink.up is False:
        yield problem(
            "sink.down",
            f"sink {sink.name}: {sink.why or 'it takes nothing'}",
            about=sink.name,
            cause=sink.code or "",
            since=sink.since,
            remedy=str(word.get("remedy") or ""),
            messages=sink.waiting,
            oldest_s=oldest,
        )
    elif RESULTS in (word.get("refusing") or {}) and _is_owed(facts, sink.name):
        code = str(word["refusing"][RESULTS])
        message = f"the other side of sink {sink.name} refuses results"
        yield problem("sink.refusing", message, about=sink.name, cause=code, messages=sink.aside)
    else:
        stuck = [lane for lane, age in sink.oldest_s.items() if age > STUCK_S and _is_still(facts, sink.name, lane)]
        if stuck:
            message = f"sink {sink.name} takes nothing of the lane {stuck[0]}, and says that all is well"
            yield problem("sink.stuck", message, about=sink.name, messages=sink.waiting, oldest_s=oldest)
    if STATUS in (word.get("refusing") or {}):
        message = f"the other side of sink {sink.name} refuses this device's status: whoever watches it there is misled"
        yield problem("status.refused", message, about=sink.name, cause=str(word["refusing"][STATUS]))
    if word.get("unverified"):
        message = f"the broker of sink {sink.name} speaks MQTT 3.1.1: results, events and this device's status that"
        message += " it refuses are lost without a word"
        yield problem("delivery.unverified", message, about=sink.name)


def _is_owed(facts: Facts, sink: str) -> bool:
    """Whether it lacks a result. Once what it refused was retried or dropped, only the next tells if it still does."""
    entries = (entry for entry in facts.books.ledger.messages if (entry.sink, entry.lane) == (sink, RESULTS))
    return any(entry.aside or entry.waiting for entry in entries)


def _is_still(facts: Facts, sink: str, lane: str) -> bool:
    return float((facts.watched("traffic").get("still_s") or {}).get(f"{sink}/{lane}", STUCK_S + 1)) > STUCK_S


def ledger_problems(facts: Facts) -> Iterator[Problem]:
    """Sums that do not add up."""
    for entry in facts.books.ledger.jobs:
        if entry.missing:
            message = f"the jobs of {entry.deployment} do not add up: acknowledged is not waiting + held + finished"
            yield problem("ledger.jobs", message, about=entry.deployment, missing=entry.missing)
    for place in facts.books.ledger.messages:
        if place.missing:
            terms = "queued is not waiting + set aside + delivered + dropped"
            message = f"the messages ({place.lane}) for {place.sink} do not add up: {terms}"
            yield problem("ledger.messages", message, about=place.sink, missing=place.missing)
