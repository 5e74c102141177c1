"""The outbox against a model of a few sets: sinks that come and go, answers in any order, and numbers nobody knows.

Hypothesis makes up the history; whatever it was, each sink is offered exactly what it has neither got nor refused, in
order, a message is kept exactly as long as somebody needs it, and the ledger adds up.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeai.api import SpoolError
from edgeai.spool import Spool
from edgeai.spool import aside as aside_module
from edgeai.spool.aside import Choice, Refusal
from edgeai.spool.ledger import read_ledger
from edgeai.spool.queueing import LANES, queue_message
from edgeai.spool.store import DefaultLimits

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c")
CODES = ("mqtt.too-large", "sink.refused")
NEVER_ISSUED = (0, -1, 10**6)
BOUND = 3


class Few(DefaultLimits):
    max_set_aside = BOUND
    reserve_bytes = 0


@dataclass
class Row:
    """What one sink lacks."""

    waiting: dict[str, set[int]] = field(default_factory=lambda: {lane: set() for lane in LANES})
    aside: dict[str, dict[int, str]] = field(default_factory=lambda: {lane: {} for lane in LANES})


class OutboxMachine(RuleBasedStateMachine):
    """What is done to a spool and to the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.spool = Spool(self.folder / "spool", Few(), site="lab", device_id="cart")
        self.messages: dict[int, str] = {}
        self.kinds: dict[int, str] = {}
        self.highest = 0
        self.rows: dict[str, Row] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.said: set[tuple[str, str, str]] = set()
        self.number = 0
        self._patch = pytest.MonkeyPatch()
        self._patch.setitem(aside_module.SAY_EVERY_S, "result", 1e9)
        self._patch.setattr(aside_module, "SAY_EVERY_ELSE_S", 1e9)

    def teardown(self) -> None:
        self.spool.close()
        self._patch.undo()
        shutil.rmtree(self.folder)

    # --- what is done -----------------------------------------------------------------------------

    @rule(lane=st.sampled_from(LANES), count=st.integers(1, 4))
    def queue(self, lane: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            channel = "result/guard" if lane == "result" else "event"
            with self.spool.db.write() as db:
                assert queue_message(db, f"k{self.number}", channel, b'{"kind":"x.y"}')
                assert not queue_message(db, f"k{self.number}", channel, b"{}"), "once"
        self._new_messages([(lane, "x.y")] * count)

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def enable(self, names: set[str]) -> None:
        self.spool.enable_sinks(names)
        for name in set(self.rows) - names:
            row = self.rows.pop(name)
            for lane in LANES:
                self.counts[name, lane, "dropped"] += len(row.waiting[lane]) + len(row.aside[lane])
        for name in names - set(self.rows):
            self.rows[name] = Row()
            for number, lane in self.messages.items():
                self._wait(name, lane, number)
        if names:
            self._forget()

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), code=st.sampled_from(CODES))
    def settle(self, data: st.DataObject, code: str) -> None:
        sink = data.draw(st.sampled_from(sorted(self.rows)))
        numbers = st.sampled_from([*range(1, self.highest + 1), *NEVER_ISSUED])
        delivered = data.draw(st.lists(numbers, max_size=6))
        refused = data.draw(st.lists(numbers, max_size=4))
        self.spool.settle(sink, delivered, [Refusal(sequence=n, code=code, reason="no") for n in refused])
        row = self.rows[sink]
        for lane in LANES:
            taken = row.waiting[lane] & set(delivered)
            row.waiting[lane] -= taken
            self.counts[sink, lane, "delivered"] += len(taken)
        events = self._put_aside(sink, refused, code)
        self._new_messages(events)
        self._forget()

    @precondition(lambda self: self.rows)
    @rule(sink=st.sampled_from(["", *NAMES]), lane=st.sampled_from(["", *LANES]), code=st.sampled_from(["", *CODES]))
    def retry(self, sink: str, lane: str, code: str) -> None:
        chosen = list(self._chosen(sink, lane, code))
        assert self.spool.retry(Choice(sink=sink, lane=lane, code=code)) == len(chosen)
        for name, each, number in chosen:
            del self.rows[name].aside[each][number]
            self.rows[name].waiting[each].add(number)

    @precondition(lambda self: self.rows)
    @rule(sink=st.sampled_from(["", *NAMES]), lane=st.sampled_from(["", *LANES]), code=st.sampled_from(["", *CODES]))
    def drop(self, sink: str, lane: str, code: str) -> None:
        chosen = list(self._chosen(sink, lane, code))
        assert self.spool.drop(Choice(sink=sink, lane=lane, code=code)) == len(chosen)
        for name, each, number in chosen:
            del self.rows[name].aside[each][number]
            self.counts[name, each, "dropped"] += 1
        self._new_messages([("event", "message.dropped")] * len({(name, each) for name, each, _ in chosen}))
        self._forget()

    @rule()
    def restart(self) -> None:
        """What was said already is known to a process, and not to the next."""
        self.spool.close()
        self.spool = Spool(self.folder / "spool", Few(), site="lab", device_id="cart")
        self.said.clear()

    @rule(limit=st.integers(1, 5), after=st.integers(0, 30), name=st.sampled_from(NAMES))
    def read(self, limit: int, after: int, name: str) -> None:
        with pytest.raises(SpoolError) if name not in self.rows else contextlib.nullcontext() as refusal:
            for lane in ("", *LANES):
                offered = [m.sequence for m in self.spool.pending(limit, after, sink=name, lane=lane)]
                row = self.rows[name]
                wanted = row.waiting[lane] if lane else row.waiting["result"] | row.waiting["event"]
                assert offered == sorted(number for number in wanted if number > after)[:limit]
        if refusal is not None:
            assert refusal.value.code == "spool.unknown-sink"

    @precondition(lambda self: set(NAMES) - set(self.rows))
    @rule(numbers=st.lists(st.integers(1, 30), max_size=3))
    def settle_for_a_stranger(self, numbers: list[int]) -> None:
        stranger = min(set(NAMES) - set(self.rows))
        with pytest.raises(SpoolError) as refusal:
            self.spool.published(stranger, numbers)
        assert refusal.value.code == "spool.unknown-sink"

    # --- what must be -----------------------------------------------------------------------------

    @invariant()
    def each_sink_is_offered_what_it_lacks_in_order(self) -> None:
        for name, row in self.rows.items():
            for lane in LANES:
                offered = self.spool.pending(10_000, sink=name, lane=lane)
                assert [m.sequence for m in offered] == sorted(row.waiting[lane])
            listed = {(a.lane, a.sequence, a.code) for a in self.spool.set_aside(Choice(sink=name))}
            assert listed == {(lane, n, code) for lane in LANES for n, code in row.aside[lane].items()}

    @invariant()
    def a_message_is_kept_as_long_as_somebody_needs_it(self) -> None:
        with self.spool.db.read() as db:
            stored = {row[0] for row in db.execute("SELECT sequence FROM messages")}
        assert stored == set(self.messages)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        entries = {(entry.sink, entry.lane): entry for entry in read_ledger(self.spool.db).messages}
        assert all(entry.missing == 0 for entry in entries.values())
        for (sink, lane, what), count in self.counts.items():
            if sink in self.rows:
                told = getattr(entries[sink, lane], what) if (sink, lane) in entries else 0
                assert told == count, (sink, lane, what)

    # --- the model --------------------------------------------------------------------------------

    def _wait(self, name: str, lane: str, number: int) -> None:
        self.rows[name].waiting[lane].add(number)
        self.counts[name, lane, "queued"] += 1

    def _new_messages(self, expected: list[tuple[str, str]]) -> None:
        """Messages that this step has made, those of the spool itself included; no more and no fewer."""
        with self.spool.db.read() as db:
            made = db.execute(
                "SELECT sequence, lane, body FROM messages WHERE sequence > ?", (self.highest,)
            ).fetchall()
        assert Counter((lane, json.loads(body)["kind"]) for _, lane, body in made) == Counter(expected)
        for number, lane, body in made:
            self.messages[number], self.kinds[number] = lane, json.loads(body)["kind"]
            self.highest = max(self.highest, number)
            for name in self.rows:
                self._wait(name, lane, number)

    def _put_aside(self, sink: str, numbers: list[int], code: str) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        row = self.rows[sink]
        for number in numbers:
            lane = next((each for each in LANES if number in row.waiting[each]), None)
            if lane is None:
                continue
            row.waiting[lane].remove(number)
            row.aside[lane][number] = code
            if lane == "event" and len(row.aside[lane]) > BOUND:
                del row.aside[lane][min(row.aside[lane])]
                self.counts[sink, lane, "dropped"] += 1
            if self.kinds[number] != aside_module.KIND and (sink, lane, code) not in self.said:
                self.said.add((sink, lane, code))
                events.append(("event", aside_module.KIND))
        return events

    def _chosen(self, sink: str, lane: str, code: str) -> Iterator[tuple[str, str, int]]:
        for name, row in self.rows.items():
            for each in LANES:
                for number, why in row.aside[each].items():
                    if sink in ("", name) and lane in ("", each) and code in ("", why):
                        yield name, each, number

    def _forget(self) -> None:
        if not self.rows:  # without a sink messages wait for one
            return
        needed = {
            n for row in self.rows.values() for lane in LANES for n in (*row.waiting[lane], *row.aside[lane].keys())
        }
        for number in [each for each in self.messages if each not in needed]:
            del self.messages[number]


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
