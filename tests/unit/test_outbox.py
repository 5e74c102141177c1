"""What sinks refused: set aside in order, bounded, said, retried and dropped; and rows that cannot be read."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeai.api import Message
from edgeai.api.errors import SpoolFull
from edgeai.spool import BUCKETS_MS, Spool
from edgeai.spool import aside as aside_module
from edgeai.spool.aside import Choice, Refusal
from edgeai.spool.ledger import MessagesEntry, read_ledger
from edgeai.spool.queueing import queue_message
from edgeai.spool.store import DefaultLimits


class Few(DefaultLimits):
    max_set_aside = 3
    reserve_bytes = 0


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", Few(), site="lab", device_id="cart")
    made.enable_sinks(["a", "b"])
    yield made
    made.close()


def queue(spool: Spool, channel: str, *bodies: object) -> list[int]:
    """Queue messages; their sequence numbers."""
    first = max([0, *(m.sequence for m in spool.pending(10_000, sink="a"))])
    with spool.db.write() as db:
        for number, body in enumerate(bodies):
            assert queue_message(db, f"{channel}-{first}-{number}", channel, json.dumps(body).encode())
    return [m.sequence for m in spool.pending(10_000, first, sink="a")]


def refuse(spool: Spool, sink: str, *sequences: int, code: str = "mqtt.too-large") -> None:
    spool.settle(sink, (), [Refusal(sequence=n, code=code, reason="it is too large") for n in sequences])


def entry(spool: Spool, sink: str, lane: str) -> MessagesEntry:
    [entries] = [e for e in read_ledger(spool.db).messages if (e.sink, e.lane) == (sink, lane)]
    assert entries.missing == 0, entries
    return entries


def events(spool: Spool, sink: str, kind: str) -> list[dict[str, Any]]:
    bodies = [json.loads(m.body) for m in spool.pending(10_000, sink=sink, lane="event")]
    return [body for body in bodies if body["kind"] == kind]


def stored(spool: Spool) -> int:
    with spool.db.read() as db:
        return int(db.execute("SELECT COUNT(*) FROM messages").fetchone()[0])


# --- setting aside --------------------------------------------------------------------------------


@pytest.mark.parametrize("position", range(5))
def test_one_refused_at_any_place_leaves_the_row_and_all_others_stay_in_order(spool: Spool, position: int) -> None:
    numbers = queue(spool, "result/guard", *range(5))
    refuse(spool, "a", numbers[position])
    waiting = [m.sequence for m in spool.pending(100, sink="a", lane="result")]
    assert waiting == [n for n in numbers if n != numbers[position]]
    assert [m.sequence for m in spool.pending(100, sink="b", lane="result")] == numbers, "the other sink waits on"
    [aside] = spool.set_aside(Choice())
    assert (aside.sink, aside.lane, aside.sequence, aside.code) == ("a", "result", numbers[position], "mqtt.too-large")
    assert (entry(spool, "a", "result").aside, entry(spool, "b", "result").aside) == (1, 0)


def test_delivered_and_refused_of_one_batch_are_settled_together(spool: Spool) -> None:
    one, two, three = queue(spool, "result/guard", 1, 2, 3)
    spool.settle("a", [one, three], [Refusal(sequence=two, code="x.y", reason="no")])
    assert spool.pending(100, sink="a", lane="result") == []
    assert (entry(spool, "a", "result").delivered, entry(spool, "a", "result").aside) == (2, 1)


def test_a_message_stays_while_it_is_set_aside_and_goes_when_it_is_over_everywhere(spool: Spool) -> None:
    [number] = queue(spool, "result/guard", 1)
    refuse(spool, "a", number)
    spool.published("b", [number])
    kept = stored(spool)
    assert spool.drop(Choice(lane="result")) == 1
    assert stored(spool) == kept  # the message went, an event that says so came
    assert spool.set_aside(Choice()) == []
    assert entry(spool, "a", "result").dropped == 1


def test_refused_twice_is_counted_once(spool: Spool) -> None:
    [number] = queue(spool, "result/guard", 1)
    refuse(spool, "a", number, number)
    refuse(spool, "a", number, 10_000)
    spool.published("a", [number])
    assert (entry(spool, "a", "result").aside, entry(spool, "a", "result").delivered) == (1, 0)


# --- the bound ------------------------------------------------------------------------------------


def test_of_events_the_oldest_go_at_the_bound_and_are_counted(spool: Spool) -> None:
    numbers = queue(spool, "event", *({"kind": "x.y", "n": n} for n in range(8)))
    refuse(spool, "a", *numbers)
    asides = [each.sequence for each in spool.set_aside(Choice(sink="a", lane="event"))]
    assert asides == numbers[-3:]
    assert entry(spool, "a", "event").dropped == 5
    assert len([m for m in spool.pending(100, sink="b", lane="event") if m.sequence in numbers]) == 8


def test_results_are_never_dropped_and_the_bound_is_said_to_intake(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", *range(5))
    refuse(spool, "a", *numbers[:2])
    assert not spool.results_set_aside_full()
    refuse(spool, "a", *numbers[2:])
    spool._full_at = -1e9
    with pytest.raises(SpoolFull) as full:
        spool.check_room()
    assert full.value.code == "spool.set-aside"
    assert len(spool.set_aside(Choice(lane="result"))) == 5
    assert entry(spool, "a", "result").dropped == 0
    spool.retry(Choice(lane="result"))
    spool.check_room()


@pytest.mark.parametrize("cure", ["retry", "drop"])
def test_intake_goes_on_as_soon_as_the_operator_has_made_room_and_publish_is_woken(spool: Spool, cure: str) -> None:
    refuse(spool, "a", *queue(spool, "result/guard", *range(3)))
    assert spool.results_set_aside_full()
    spool.wait("publish", 0.0)
    getattr(spool, cure)(Choice())
    assert not spool.results_set_aside_full()
    assert spool.wait("publish", 60.0)


def test_one_sink_that_has_refused_too_many_is_enough(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", *range(3))
    refuse(spool, "b", numbers[0])
    refuse(spool, "a", *numbers)
    assert spool.results_set_aside_full()


def test_other_lanes_do_not_fill_the_bound_of_results(spool: Spool) -> None:
    refuse(spool, "a", *queue(spool, "event", *({"kind": "x.y"} for _ in range(8))))
    assert not spool.results_set_aside_full()


# --- saying it ------------------------------------------------------------------------------------


def test_an_event_is_what_its_schema_says(spool: Spool, repo_root: Path) -> None:
    facts = {"text": "x", "whole": 1, "part": 0.5, "is": True, "none": None, "list": [1], "table": {"a": 1}}
    spool.event("x.y", "something", **facts)
    [body] = events(spool, "a", "x.y")
    schema = json.loads((repo_root / "edgeai/schemas/event-1.json").read_text())
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(body)
    assert (body["schema"], body["site"], body["device_id"], body["message"]) == (1, "lab", "cart", "something")
    assert body["facts"] == {**facts, "list": "[1]", "table": '{"a": 1}'}


def test_the_end_of_a_self_test_is_marked_and_hides_no_event(spool: Spool) -> None:
    """It goes in the lane of events: who reads of it must not look for an event that nobody got."""
    [phantom] = queue(spool, "selftest/guard", {"kind": "no event"})
    [event] = queue(spool, "event", {"kind": "x.y"})
    refuse(spool, "a", phantom, event)
    told = [body["facts"] for body in events(spool, "b", "message.set-aside")]
    assert [(facts["lane"], facts["channel"], facts["selftest"]) for facts in told] == [
        ("event", "selftest/guard", True),
        ("event", "event", False),
    ]
    messages = [body["message"] for body in events(spool, "b", "message.set-aside")]
    assert ["self-test" in message for message in messages] == [True, False]


def test_of_one_code_a_result_an_event_and_a_self_test_are_each_said(spool: Spool) -> None:
    numbers = [*queue(spool, "result/guard", 1), *queue(spool, "event", {"kind": "x.y"})]
    refuse(spool, "a", *numbers, *queue(spool, "selftest/guard", {"kind": "no event"}))
    told = [body["facts"]["channel"] for body in events(spool, "b", "message.set-aside")]
    assert told == ["result/guard", "event", "selftest/guard"]


def test_a_refusal_is_said_again_after_a_while_and_in_a_thousand_characters(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, time=time.time)
    monkeypatch.setattr(aside_module, "time", clock)
    for lane, channel, every_s in (("result", "result/guard", 10.0), ("event", "event", 600.0)):
        numbers = queue(spool, channel, *({"kind": "x.y"} for _ in range(3)))
        for number, passed_s in zip(numbers, (0.0, every_s - 0.1, every_s), strict=True):
            clock.now = 1000.0 + passed_s
            spool.settle("a", (), [Refusal(sequence=number, code="x.long", reason="y" * 3000)])
        told = [body for body in events(spool, "b", "message.set-aside") if body["facts"]["lane"] == lane]
        assert [body["facts"]["held_back"] for body in told] == [0, 1]
        assert {len(body["message"]) for body in told} == {1000}
    assert {len(each.reason) for each in spool.set_aside(Choice(code="x.long"))} == {1000}


def test_what_was_set_aside_is_listed_with_its_size_its_times_and_its_attempt(spool: Spool) -> None:
    before = time.time()
    with spool.db.write() as db:
        queue_message(db, "k", "result/guard", b"12345", attempt=3)
    [waiting] = spool.waiting(Choice(sink="b"))
    refuse(spool, "a", waiting.sequence)
    [aside] = spool.set_aside(Choice())
    for each in (waiting, aside):
        assert (each.key, each.attempt, each.channel, each.size_bytes) == ("k", 3, "result/guard", 5)
        assert before <= each.created_at <= time.time()
    assert aside.at is not None
    assert before <= aside.at <= time.time()
    assert (waiting.at, waiting.code, waiting.reason) == (None, "", "")
    assert spool.waiting(Choice(code="mqtt.too-large")) == []


def test_it_is_said_once_with_what_was_held_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = queue(spool, "result/guard", *range(6))
    refuse(spool, "a", *numbers[:4])
    [event] = events(spool, "b", "message.set-aside")
    assert event["facts"] == {
        "sink": "a",
        "lane": "result",
        "code": "mqtt.too-large",
        "key": "result/guard-0-0",
        "held_back": 0,
        "channel": "result/guard",
        "selftest": False,
    }
    refuse(spool, "a", numbers[4], code="mqtt.not-authorised")
    assert len(events(spool, "b", "message.set-aside")) == 2, "another code is another matter"
    monkeypatch.setitem(__import__("edgeai.spool.aside", fromlist=["SAY_EVERY_S"]).SAY_EVERY_S, "result", 0.0)
    refuse(spool, "a", numbers[5])
    assert events(spool, "b", "message.set-aside")[-1]["facts"]["held_back"] == 3


def test_a_refusal_that_is_itself_refused_is_not_said_so_that_it_ends(spool: Spool) -> None:
    """A sink that refuses all events refuses those about refused events too."""
    queue(spool, "event", {"kind": "x.y"})
    for _ in range(20):
        waiting = spool.pending(100, sink="a", lane="event")
        refuse(spool, "a", *(m.sequence for m in waiting), code="mqtt.not-authorised")
    assert spool.pending(100, sink="a", lane="event") == []
    assert len(events(spool, "b", "message.set-aside")) == 1
    assert entry(spool, "a", "event").queued == 2


# --- how long it took -----------------------------------------------------------------------------


def test_how_long_results_took_to_each_sink_is_counted_by_deployment(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [*queue(spool, "result/guard", *range(4)), *queue(spool, "result/pa", 1), *queue(spool, "event", {})]
    took_s = [6.0, 5.0, 6.0, -100.0, 0.02, 7.0]
    with spool.db.write() as db:
        for number, seconds in zip(numbers, took_s, strict=True):
            db.execute("UPDATE messages SET created_at = ? WHERE sequence = ?", (10_000.0 - seconds, number))
    monkeypatch.setattr("edgeai.spool.outbox.time", SimpleNamespace(time=lambda: 10_000.0))
    spool.published("a", numbers[:2])
    spool.published("a", numbers)
    durations = {(each.deployment, each.stage): each for each in spool.histograms()}
    assert set(durations) == {("guard", "publish-a"), ("pa", "publish-a")}, "an event is nobody's work"
    counts = dict(zip((*BUCKETS_MS, None), durations["guard", "publish-a"].counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.5: 1, 5000.0: 1, 10_000.0: 2}
    assert durations["guard", "publish-a"].sum_ms == pytest.approx(17_000.0)
    assert durations["pa", "publish-a"].sum_ms == pytest.approx(20.0)


# --- retry and drop -------------------------------------------------------------------------------


def test_what_is_retried_stands_in_its_old_place(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", *range(4))
    refuse(spool, "a", numbers[1])
    assert spool.retry(Choice(code="mqtt.too-large")) == 1
    assert [m.sequence for m in spool.pending(100, sink="a", lane="result")] == numbers
    assert entry(spool, "a", "result").queued == 4


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        (Choice(), 4),
        (Choice(sink="a"), 3),
        (Choice(lane="event"), 1),
        (Choice(code="mqtt.not-authorised"), 1),
        (Choice(key="result/guard-0-0"), 2),
        (Choice(sink="a", key="result/guard-0-0"), 1),
        (Choice(sink="c"), 0),
    ],
)
def test_what_is_meant_is_chosen_by_all_that_was_said(spool: Spool, choice: Choice, count: int) -> None:
    one, two = queue(spool, "result/guard", 1, 2)
    [event] = queue(spool, "event", {"kind": "message.set-aside"})
    refuse(spool, "a", one)
    refuse(spool, "b", one)
    refuse(spool, "a", two, code="mqtt.not-authorised")
    refuse(spool, "a", event)
    assert len(spool.set_aside(choice)) == count
    assert spool.retry(choice) == count
    assert len(spool.set_aside(Choice())) == 4 - count


def test_dropping_says_so(spool: Spool) -> None:
    refuse(spool, "a", *queue(spool, "result/guard", 1, 2))
    assert spool.drop(Choice()) == 2
    [event] = events(spool, "b", "message.dropped")
    assert event["facts"] == {"sink": "a", "lane": "result", "messages": 2}


# --- sinks that come and go -----------------------------------------------------------------------


def test_what_a_sink_lacked_counts_as_dropped_when_it_goes(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", *range(4))
    spool.published("a", numbers[:1])
    refuse(spool, "a", numbers[1])
    spool.enable_sinks(["b"])
    spool.enable_sinks(["a", "b"])
    assert (entry(spool, "a", "result").dropped, entry(spool, "a", "result").waiting) == (3, 4)


# --- rows that cannot be read ---------------------------------------------------------------------

DAMAGE: dict[str, tuple[str, Sequence[object]]] = {
    "body is text": ("UPDATE messages SET body = 'text' WHERE sequence = ?", ()),
    "body is a number": ("UPDATE messages SET body = 5 WHERE sequence = ?", ()),
    "no key": ("UPDATE messages SET key = '' WHERE sequence = ?", ()),
    "key is no UTF-8": ("UPDATE messages SET key = CAST(x'ff' AS TEXT) WHERE sequence = ?", ()),
    "channel unknown": ("UPDATE messages SET channel = 'nonsense' WHERE sequence = ?", ()),
    "channel is a wildcard": ("UPDATE messages SET channel = 'result/#' WHERE sequence = ?", ()),
    "channel is a number": ("UPDATE messages SET channel = 7 WHERE sequence = ?", ()),
    "channel is no UTF-8": ("UPDATE messages SET channel = CAST(x'fe' AS TEXT) WHERE sequence = ?", ()),
    "attempt is text": ("UPDATE messages SET attempt = 'one' WHERE sequence = ?", ()),
    "another lane": ("UPDATE messages SET lane = 'event' WHERE sequence = ?", ()),
    "a lane that is none": ("UPDATE messages SET lane = CAST(x'ff' AS TEXT) WHERE sequence = ?", ()),
}


def damage(spool: Spool, statement: str, number: int) -> None:
    with closing(sqlite3.connect(spool.db.path, isolation_level=None)) as db:
        db.execute(statement, (number,))


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_row_that_cannot_be_read_is_set_aside_and_all_others_go(spool: Spool, what: str, position: int) -> None:
    numbers = queue(spool, "result/guard", *range(5))
    damage(spool, DAMAGE[what][0], numbers[position])
    messages = spool.pending(100, sink="a", lane="result")
    assert [m.sequence for m in messages] == [n for n in numbers if n != numbers[position]]
    assert all(isinstance(message, Message) for message in messages)
    [aside] = spool.set_aside(Choice(sink="a"))
    assert (aside.sequence, aside.code) == (numbers[position], "spool.row-unreadable")
    assert aside.attempt == (0 if what == "attempt is text" else 1)
    spool.published("a", [m.sequence for m in messages])
    assert (entry(spool, "a", "result").waiting, entry(spool, "a", "result").aside) == (0, 1)
    assert spool.drop(Choice()) == 1


def test_many_that_cannot_be_read_do_not_hide_those_that_can(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", *range(30))
    for number in numbers[:25]:
        damage(spool, "UPDATE messages SET body = 1 WHERE sequence = ?", number)
    assert [m.sequence for m in spool.pending(10, sink="a", lane="result")] == numbers[25:]


def test_a_place_in_the_row_without_its_message_is_given_up(spool: Spool) -> None:
    numbers = queue(spool, "result/guard", 1, 2)
    damage(spool, "DELETE FROM messages WHERE sequence = ?", numbers[0])
    assert [m.sequence for m in spool.pending(10, sink="a", lane="result")] == numbers[1:]
    assert (entry(spool, "a", "result").dropped, entry(spool, "a", "result").waiting) == (1, 1)


def test_a_place_in_a_lane_that_is_none_is_set_aside_at_the_next_start(spool: Spool) -> None:
    numbers = queue(spool, "event", {"kind": "x.y"}, {"kind": "x.z"})
    damage(spool, "UPDATE pending SET lane = 'nonsense' WHERE sink = 'a' AND sequence = ?", numbers[0])
    spool.enable_sinks(["a", "b"])
    assert [aside.code for aside in spool.set_aside(Choice())] == ["spool.row-unreadable"]
    assert spool.pending(10, sink="a", lane="event")[0].sequence == numbers[1]


def test_a_message_without_a_readable_time_is_delivered_like_others(spool: Spool) -> None:
    [number] = queue(spool, "result/guard", 1)
    damage(spool, "UPDATE messages SET created_at = 'yesterday' WHERE sequence = ?", number)
    spool.published("a", [number])
    assert entry(spool, "a", "result").delivered == 1
    assert [each.created_at for each in spool.waiting(Choice(sink="b"))] == [0.0]


@pytest.mark.parametrize("name", ["CAST(x'ff' AS TEXT)", "x'61'", "x'ff'", "'gone'"])
def test_a_sink_of_no_name_that_there_is_goes_at_the_next_start(spool: Spool, name: str) -> None:
    queue(spool, "event", {"kind": "x.y"})
    damage(spool, f"INSERT OR IGNORE INTO sinks (name) SELECT {name} WHERE ? = 0", 0)
    spool.enable_sinks(["a", "b"])
    with spool.db.read() as db:
        assert [row[0] for row in db.execute("SELECT name FROM sinks ORDER BY name")] == ["a", "b"]
