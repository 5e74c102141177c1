"""One sink's thread: a message that cannot be delivered holds up no other, whatever the sink does with it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeai.api import Message, PluginFault, Receipt, SinkFailed, SinkRequest, SinkSpec
from edgeai.api.errors import EdgeaiError, SpoolFull
from edgeai.config import load_config
from edgeai.health import Watch
from edgeai.roles import delivery as delivery_module
from edgeai.roles.delivery import Delivery
from edgeai.roles.publish import Publisher
from edgeai.spool import Spool
from edgeai.spool.aside import Choice
from edgeai.spool.queueing import queue_message
from edgeai.testing.waiting import until

Answer = Callable[[Sequence[Message]], Sequence[Receipt] | None]


class Recorder:
    """A sink that answers as the test says and keeps what it took."""

    def __init__(self, answer: Answer, *, gives_receipts: bool = False) -> None:
        self.answer = answer
        self.gives_receipts = gives_receipts
        self.took: list[str] = []
        self.bodies: list[bytes] = []
        self.offered: list[list[str]] = []
        self.opened = self.closed = 0

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt] | None:
        self.offered.append([message.key for message in messages])
        receipts = self.answer(messages)
        took = messages if receipts is None else [m for m in messages if verdict_of(receipts, m) == "delivered"]
        self.took += [message.key for message in took if message.channel.startswith("result/")]
        self.bodies += [message.body for message in took]
        return receipts

    def close(self) -> None:
        self.closed += 1


def verdict_of(receipts: Sequence[Receipt], message: Message) -> str:
    return next((receipt.verdict for receipt in receipts if receipt.sequence == message.sequence), "")


def receipt(message: Message, verdict: str = "delivered", code: str = "") -> Receipt:
    return Receipt(sequence=message.sequence, verdict=verdict, code=code, reason=code)  # type: ignore[arg-type]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", site="lab", device_id="cart")
    made.enable_sinks(["s"])
    yield made
    made.close()


def results(spool: Spool, *keys: str) -> None:
    with spool.db.write() as db:
        for key in keys:
            queue_message(db, key, "result/guard", json.dumps({"key": key}).encode())


@contextmanager
def delivering(spool: Spool, sink: Recorder) -> Iterator[Delivery]:
    def open_(_request: SinkRequest) -> Recorder:
        sink.opened += 1
        return sink

    spec = SinkSpec(name="s", open=open_)
    thread = Delivery("s", spec, SinkRequest(device_id="cart", site="lab", settings={}), spool)
    thread.start()
    try:
        yield thread
    finally:
        thread.ask_to_stop()
        thread.join(240)
        assert not thread.is_alive()


def events(spool: Spool, kind: str, sink: Recorder) -> list[dict[str, object]]:
    """The facts of all events of a kind, whether they have left or not."""
    with spool.db.read() as db:
        waiting_ = [row[0] for row in db.execute("SELECT body FROM messages WHERE lane = 'event'")]
    bodies = [json.loads(body) for body in {*sink.bodies, *waiting_} if body.startswith(b'{"schema"')]
    return [body["facts"] for body in bodies if body["kind"] == kind]


def aside(spool: Spool) -> dict[str, str]:
    return {each.key: each.code for each in spool.set_aside(Choice(lane="result"))}


def waiting(spool: Spool) -> list[str]:
    return [message.key for message in spool.pending(1000, sink="s", lane="result")]


# --- poison, at every place, of every kind --------------------------------------------------------


def refuses(messages: Sequence[Message]) -> Sequence[Receipt]:
    return [receipt(m, "refused", "x.refused") if m.key == "bad" else receipt(m) for m in messages]


def raises(error: Exception) -> Answer:
    def answer(messages: Sequence[Message]) -> None:
        if any(message.key == "bad" for message in messages):
            raise error

    return answer


def puts_off(messages: Sequence[Message]) -> Sequence[Receipt]:
    return [receipt(m, "later", "x.later") if m.key == "bad" else receipt(m) for m in messages]


def is_silent(messages: Sequence[Message]) -> Sequence[Receipt]:
    return [receipt(m) for m in messages if m.key != "bad"]


POISON: dict[str, tuple[Answer, str]] = {
    "refused": (refuses, "x.refused"),
    "refused without a code": (
        lambda messages: [receipt(m, "refused") if m.key == "bad" else receipt(m) for m in messages],
        "sink.refused",
    ),
    "exception": (raises(ValueError("what is this?")), "sink.fault"),
    "plugin fault": (raises(PluginFault("plugin 'x', put: ValueError")), "sink.fault"),
    "out of memory": (raises(MemoryError()), "sink.fault"),
    "SinkFailed of a sink without receipts": (raises(SinkFailed("no", code="x.no")), "x.no"),
    "always later": (puts_off, ""),
    "never a receipt": (is_silent, ""),
}


def _marks(kind: str, position: int) -> list[pytest.MarkDecorator]:
    """One that must fail again and again until it is clear who is guilty, which takes seconds each time."""
    if not kind.startswith("SinkFailed"):
        return []
    return [pytest.mark.slow] + [pytest.mark.torture] * (position in (1, 2, 3))


PLACES = [pytest.param(kind, position, marks=_marks(kind, position)) for kind in POISON for position in range(5)]


@pytest.mark.parametrize(("kind", "position"), PLACES)
def test_one_message_that_cannot_be_delivered_holds_up_no_other(spool: Spool, kind: str, position: int) -> None:
    answer, code = POISON[kind]
    good = [f"good-{number}" for number in range(4)]
    results(spool, *good[:position], "bad", *good[position:])
    sink = Recorder(answer)
    with delivering(spool, sink):
        until(lambda: waiting(spool) in ([], ["bad"]))
        results(spool, "late")
        until(lambda: "late" in sink.took)
        while code and not aside(spool):
            results(spool, f"more-{time.monotonic_ns()}")  # others must pass for some kinds of guilt to show
            time.sleep(0.1)
        until(lambda: waiting(spool) == ([] if code else ["bad"]))
    took = [key for key in sink.took if key in (*good, "late")]
    assert took == [*good, "late"], "each once, in order"
    assert aside(spool) == ({"bad": code} if code else {})


@pytest.mark.parametrize("kind", ["exception", "plugin fault"])
def test_one_that_makes_the_sink_raise_is_set_aside_even_when_there_is_no_other(spool: Spool, kind: str) -> None:
    results(spool, "bad")
    sink = Recorder(POISON[kind][0])
    with delivering(spool, sink) as thread:
        until(lambda: aside(spool) == {"bad": "sink.fault"})
        until(lambda: thread.trouble is None)
    assert sink.offered.count(["bad"]) == 3
    assert sink.opened > 1, "a sink that raised is opened anew"
    assert events(spool, "message.set-aside", sink)[0]["code"] == "sink.fault"


@pytest.mark.slow
def test_several_that_cannot_be_delivered_hold_up_no_other(spool: Spool) -> None:
    def answer(messages: Sequence[Message]) -> None:
        if any("bad" in message.key for message in messages):
            raise ValueError("no")

    bad = [f"bad-{number}" for number in range(8)]
    results(spool, *bad, "good-1", "good-2")
    sink = Recorder(answer)
    with delivering(spool, sink):
        until(lambda: sink.took == ["good-1", "good-2"])
        until(lambda: len(aside(spool)) == 8)
    assert waiting(spool) == []


# --- a sink that is away is no message's fault ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("gives_receipts", [True, False], ids=["receipts", "none"])
def test_a_sink_that_is_away_gets_all_in_order_once_it_is_back(spool: Spool, gives_receipts: bool) -> None:
    keys = [f"r-{number}" for number in range(20)]
    results(spool, *keys)
    is_away = threading.Event()
    is_away.set()

    def answer(messages: Sequence[Message]) -> Sequence[Receipt] | None:
        if is_away.is_set():
            raise SinkFailed("away", code="x.away")
        return [receipt(message) for message in messages] if gives_receipts else None

    sink = Recorder(answer, gives_receipts=gives_receipts)
    with delivering(spool, sink) as thread:
        until(lambda: thread.state()["up"] is False)
        until(lambda: len(sink.offered) > 4)
        assert thread.state()["code"] == "x.away"
        is_away.clear()
        until(lambda: waiting(spool) == [])
        until(lambda: thread.state()["up"] is True and thread.trouble is None)
        until(lambda: events(spool, "sink.recovered", sink))
    assert [key for key in sink.took if key in keys] == keys
    assert aside(spool) == {}
    assert len(events(spool, "sink.trouble", sink)) == len(events(spool, "sink.recovered", sink)) == 1


@pytest.mark.slow
def test_a_sink_that_raises_whatever_it_is_given_loses_at_most_one_message_to_suspicion(spool: Spool) -> None:
    keys = [f"r-{number}" for number in range(10)]
    results(spool, *keys)
    is_broken = threading.Event()
    is_broken.set()

    def answer(_messages: Sequence[Message]) -> None:
        if is_broken.is_set():
            raise OSError("its library is gone")

    sink = Recorder(answer)
    with delivering(spool, sink) as thread:
        until(lambda: len(sink.offered) > 25)
        assert thread.state()["up"] is False
        is_broken.clear()
        until(lambda: waiting(spool) == [])
    assert len(aside(spool)) <= 1
    assert sorted([*sink.took, *aside(spool)]) == sorted(keys)


@pytest.mark.slow
def test_a_sink_that_cannot_be_opened_is_tried_again(spool: Spool) -> None:
    results(spool, "r")
    sink = Recorder(lambda _messages: None)
    attempts: list[int] = []

    def open_(_request: SinkRequest) -> Recorder:
        attempts.append(1)
        if len(attempts) < 4:
            raise RuntimeError("not yet")
        return sink

    spec = SinkSpec(name="s", open=open_)
    thread = Delivery("s", spec, SinkRequest(device_id="cart", site="lab", settings={}), spool)
    thread.start()
    until(lambda: sink.took == ["r"])
    thread.ask_to_stop()
    thread.join(240)
    assert events(spool, "sink.trouble", sink)[0]["code"] == "sink.fault"
    assert aside(spool) == {}


# --- lanes ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["later", "silent", "SinkFailed", "exception"])
def test_a_lane_that_is_blocked_blocks_no_other(spool: Spool, how: str) -> None:
    def answer(messages: Sequence[Message]) -> Sequence[Receipt] | None:
        if all(message.channel.startswith("result/") for message in messages):
            return None
        if how == "later":
            return [receipt(message, "later", "mqtt.quota-exceeded") for message in messages]
        if how == "silent":
            return []
        raise SinkFailed("no events here") if how == "SinkFailed" else ValueError("no events here")

    for number in range(150):
        spool.event("x.y", f"number {number}")
    sink = Recorder(answer)
    with delivering(spool, sink) as thread:
        for number in range(30):
            results(spool, f"r-{number}")
            thread.ring()
            until(lambda number=number: f"r-{number}" in sink.took)
        until(lambda: waiting(spool) == [])
        until(lambda: thread.state()["up"] is True)
        if how == "later":
            assert thread.state()["code"] == "mqtt.quota-exceeded"
    assert [key for key in sink.took if key.startswith("r")] == [f"r-{number}" for number in range(30)]


def test_what_a_quota_cuts_off_keeps_its_order(spool: Spool) -> None:
    """Ten of each batch are taken and the rest put off: nothing overtakes."""

    def answer(messages: Sequence[Message]) -> Sequence[Receipt]:
        return [receipt(m) if place < 10 else receipt(m, "later", "q") for place, m in enumerate(messages)]

    keys = [f"r-{number:03}" for number in range(45)]
    results(spool, *keys)
    sink = Recorder(answer)
    with delivering(spool, sink):
        until(lambda: waiting(spool) == [])
    assert [key for key in sink.took if key.startswith("r")] == keys


# --- the status -----------------------------------------------------------------------------------


def status(text: str) -> Message:
    return Message(key="status", channel="status", body=text.encode())


@pytest.mark.slow
def test_a_status_that_is_refused_is_said_once_and_delays_nothing(spool: Spool) -> None:
    def answer(messages: Sequence[Message]) -> Sequence[Receipt]:
        return [receipt(m, "refused" if m.channel == "status" else "delivered", "x.no") for m in messages]

    sink = Recorder(answer, gives_receipts=True)
    with delivering(spool, sink) as thread:
        for number in range(3):
            thread.say(status(f"state {number}"))
            results(spool, f"r-{number}")
            until(lambda number=number: f"r-{number}" in sink.took and sink.offered.count(["status"]) == number + 1)
        until(lambda: thread.state()["refusing"] == {"status": "x.no"})
        time.sleep(0.3)
    assert sink.offered.count(["status"]) == 3, "once for each state"
    rows = [facts for facts in events(spool, "message.set-aside", sink) if facts["lane"] == "status"]
    assert [facts["code"] for facts in rows] == ["x.no"]


def test_of_statuses_the_latest_counts(spool: Spool) -> None:
    is_away = threading.Event()
    is_away.set()
    bodies: list[bytes] = []

    def answer(messages: Sequence[Message]) -> Sequence[Receipt]:
        if is_away.is_set():
            raise SinkFailed("away")
        bodies.extend(message.body for message in messages)
        return [receipt(message) for message in messages]

    sink = Recorder(answer, gives_receipts=True)
    with delivering(spool, sink) as thread:
        for number in range(5):
            thread.say(status(f"state {number}"))
        is_away.clear()
        until(lambda: b"state 4" in bodies)
    assert bodies.count(b"state 4") == 1


# --- the spool in trouble -------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_delivered_while_the_disk_was_full_is_not_delivered_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    results(spool, "r-1", "r-2")
    sink = Recorder(lambda messages: [receipt(message) for message in messages], gives_receipts=True)
    settle, failures = spool.settle, [1, 1, 1]

    def full(*arguments: object) -> None:
        if failures:
            failures.pop()
            raise SpoolFull("the disk is full")
        settle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(spool, "settle", full)
    with delivering(spool, sink):
        until(lambda: waiting(spool) == [])
    assert [key for key in sink.took if key.startswith("r")] == ["r-1", "r-2"]


# --- threads that end -----------------------------------------------------------------------------


def test_a_thread_that_ends_ends_the_role(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "profile.toml"
    lines = ['schema = 1\n[device]\nid = "cart"\nsite = "lab"', f'data_dir = "{tmp_path}"', "[mqtt]\nenabled = false"]
    profile.write_text("\n".join([*lines, f'[jsonl]\npath = "{tmp_path}/lines"', "[health]\nenabled = false"]))
    config = load_config(profile)
    monkeypatch.setattr(Delivery, "_round", lambda _self: 1 / 0)
    watch = Watch(config, spool)
    publisher = Publisher(config, spool, watch, None)
    with pytest.raises(EdgeaiError, match="ZeroDivisionError") as failure:
        publisher.run(threading.Event())
    assert failure.value.code == "role.thread-died"


# --- another client under the same name -----------------------------------------------------------


@pytest.mark.slow
def test_a_session_that_is_taken_is_an_event_and_stays_spoken_of(spool: Spool) -> None:
    turns = iter([True, False, True, False])

    def answer(messages: Sequence[Message]) -> Sequence[Receipt]:
        if messages and next(turns, False):
            raise SinkFailed("another client", code="mqtt.session-taken-over")
        return [receipt(message) for message in messages]

    sink = Recorder(answer, gives_receipts=True)
    results(spool, "r-1")
    with delivering(spool, sink) as thread:
        until(lambda: "r-1" in sink.took)
        assert thread.state()["taken"], "though it delivers"
        until(lambda: thread.state()["up"] is True)
        results(spool, "r-2")
        until(lambda: "r-2" in sink.took)
    assert len(events(spool, "mqtt.session-taken-over", sink)) == 1, "not each time"


def test_a_sink_that_gives_receipts_is_asked_now_and_then_whether_it_is_there(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "TEND_S", 0.05)
    is_away = threading.Event()

    def answer(messages: Sequence[Message]) -> Sequence[Receipt]:
        if is_away.is_set():
            raise SinkFailed("gone", code="x.gone")
        return [receipt(message) for message in messages]

    sink = Recorder(answer, gives_receipts=True)
    results(spool, "r")
    with delivering(spool, sink) as thread:
        until(lambda: thread.state()["up"] is True and not waiting(spool))
        is_away.set()
        until(lambda: thread.state()["code"] == "x.gone")
        is_away.clear()
        until(lambda: thread.state()["up"] is True)
    assert sink.took.count("r") == 1
