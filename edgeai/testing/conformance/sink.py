"""What the host relies on in a sink: what it says of a message is so, and one that is refused delays no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from edgeai.api import (
    ConfigError,
    EdgeaiError,
    Message,
    Options,
    PluginFault,
    Receipt,
    Sink,
    SinkFailed,
    SinkRequest,
    SinkSpec,
)
from edgeai.testing.conformance.suite import Suite, assert_refused, needs, since

OFFERS = 100
"""How often a message without a receipt is offered again before it counts as never delivered."""


class SinkConformance(Suite):
    """Subclass it once for each sink; give ``settings``, ``delivered`` and, where it can fail, ``failing_settings``.

    Where the other side refuses some messages for good, ``refused_message`` is one of those.

    Attributes:
        sink: ``SinkSpec.name``.
        nonsense: settings that ``open`` must refuse as ``ConfigError``.
    """

    kind: ClassVar[str] = "sink"
    sink: ClassVar[str] = ""
    nonsense: ClassVar[Sequence[Options]] = ()

    def settings(self, folder: Path) -> Options:
        """Settings with which the sink works; ``folder`` is empty and this test's own."""
        needs("settings(folder), with which it opens")

    def delivered(self, folder: Path) -> list[tuple[str, bytes]]:
        """(channel, body) of what has arrived on the other side, in order, repeats included."""
        needs("delivered(folder), what has come to the other side")

    def failing_settings(self, folder: Path) -> Options:
        """Settings with which nothing can be delivered (a closed port, a folder that cannot be written)."""
        needs("failing_settings(folder), with which nothing can be delivered")

    def refused_message(self, folder: Path) -> Message:
        """A message that the other side will never take, with sequence 2; ``put`` gives receipts then."""
        needs("refused_message(folder), one that the other side never takes")

    @property
    def spec(self) -> SinkSpec:
        """The spec under test."""
        spec: SinkSpec = self.any_spec()
        return spec

    def open(self, settings: Options) -> Sink:
        """The sink, open as device ``cart-7`` of site ``ward-3``."""
        return self.spec.open(SinkRequest(device_id="cart-7", site="ward-3", settings=settings))

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Sink]:
        """A sink that works."""
        sink = self.open(self.settings(tmp_path))
        yield sink
        sink.close()

    def deliver(self, sink: Sink, messages: Sequence[Message]) -> None:
        """Put these as the host does: what has no receipt yet is offered again."""
        waiting = list(messages)
        for _ in range(OFFERS):
            receipts = sink.put(waiting)
            if receipts is None:
                return
            verdicts = {receipt.sequence: receipt for receipt in receipts}
            for message in waiting:
                receipt = verdicts.get(message.sequence)
                assert receipt is None or receipt.verdict == "delivered", f"{message.key}: {receipt}"
            waiting = [message for message in waiting if message.sequence not in verdicts]
            if not waiting:
                return
        pytest.fail(f"{len(waiting)} messages got no receipt, however often they were offered", pytrace=False)

    @since(1, 0)
    def test_put_delivers(self, opened: Sink, tmp_path: Path) -> None:
        """What put says it delivered, the other side has, in order and to the byte."""
        messages = example_messages(5)
        self.deliver(opened, messages[:1])
        assert self.delivered(tmp_path) == _pairs(messages[:1])
        self.deliver(opened, messages[1:])
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 1)
    def test_prints_nothing(self, silence: Callable[[], AbstractContextManager[None]], tmp_path: Path) -> None:
        """Opening, delivering and closing write nothing to standard output."""
        with silence():
            sink = self.open(self.settings(tmp_path))
            self.deliver(sink, example_messages(2))
            sink.close()

    @since(1, 0)
    def test_nothing_to_put(self, opened: Sink, tmp_path: Path) -> None:
        """An empty batch is fine and delivers nothing."""
        opened.put([])
        assert self.delivered(tmp_path) == []

    @since(1, 0)
    def test_offered_again(self, opened: Sink, tmp_path: Path) -> None:
        """Messages may be offered again (at least once): each is there, in order."""
        messages = example_messages(3)
        self.deliver(opened, messages)
        self.deliver(opened, messages)
        delivered = self.delivered(tmp_path)
        assert list(dict.fromkeys(delivered)) == _pairs(messages)

    @since(1, 0)
    def test_large_and_foreign_bodies(self, opened: Sink, tmp_path: Path) -> None:
        """A body of a quarter megabyte and one with every kind of letter arrive to the byte."""
        bodies = [
            json.dumps({"n": "x" * 250_000}).encode(),
            json.dumps({"ä": "漢字 \n\t\\"}, ensure_ascii=False).encode(),
        ]
        messages = [Message(key=f"k{n}", channel="event", body=body, sequence=n) for n, body in enumerate(bodies, 1)]
        self.deliver(opened, messages)
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 0)
    def test_opened_again_keeps_what_was_there(self, tmp_path: Path) -> None:
        """Closing and opening again loses nothing that was delivered."""
        settings = self.settings(tmp_path)
        messages = example_messages(4)
        for batch in (messages[:2], messages[2:]):
            sink = self.open(settings)
            self.deliver(sink, batch)
            sink.close()
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 0)
    def test_another_thread_may_put(self, opened: Sink, tmp_path: Path) -> None:
        """A sink opened in one thread delivers from another."""
        messages = example_messages(2)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.deliver, opened, messages).result()
        assert self.delivered(tmp_path) == _pairs(messages)

    def receipts(self, sink: Sink, messages: Sequence[Message]) -> Sequence[Receipt]:
        """What one ``put`` says; skips where the sink gives no receipts."""
        receipts = sink.put(messages)
        if receipts is None:
            pytest.skip("the sink gives no receipts: None means that all were delivered")
        return receipts

    @since(1, 1)
    def test_a_receipt_is_for_a_message_that_was_put(self, opened: Sink) -> None:
        """One receipt at most for each message, none for others, and none where nothing was put."""
        messages = example_messages(3)
        numbers = [receipt.sequence for receipt in self.receipts(opened, messages)]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= {message.sequence for message in messages}
        assert not opened.put([])

    @since(1, 1)
    def test_what_is_said_to_be_delivered_is_there(self, opened: Sink, tmp_path: Path) -> None:
        """A receipt that says delivered is given when the message is safe on the other side, and not before."""
        messages = example_messages(4)
        delivered = {receipt.sequence for receipt in self.receipts(opened, messages) if receipt.verdict == "delivered"}
        there = self.delivered(tmp_path)
        assert [pair for pair in _pairs([m for m in messages if m.sequence in delivered]) if pair not in there] == []

    @since(1, 1)
    @pytest.mark.parametrize("position", range(4))
    def test_one_that_is_refused_delays_no_other(self, opened: Sink, tmp_path: Path, position: int) -> None:
        """A message that the other side will never take is refused with a code, and all others are delivered."""
        refused = self.refused_message(tmp_path)
        messages = [each for each in example_messages(4) if each.sequence != refused.sequence]
        waiting, last = [*messages[:position], refused, *messages[position:]], dict[int, Receipt]()
        for _ in range(OFFERS):
            with suppress(SinkFailed):  # a refusal may cost a connection; the host offers all again
                last.update({receipt.sequence: receipt for receipt in self.receipts(opened, waiting)})
            waiting = [each for each in waiting if each.sequence not in last or last[each.sequence].verdict == "later"]
            if not waiting:
                break
        assert waiting == [], "each comes to an end"
        assert last[refused.sequence].verdict == "refused"
        assert last[refused.sequence].code, "a refusal says why, with a code"
        assert {last[each.sequence].verdict for each in messages} == {"delivered"}
        pairs = _pairs(messages)
        assert [pair for pair in dict.fromkeys(self.delivered(tmp_path)) if pair in pairs] == pairs

    @since(1, 0)
    def test_failure_is_said(self, tmp_path: Path) -> None:
        """Where nothing can be delivered, open or put is SinkFailed; and again the second time."""
        settings = self.failing_settings(tmp_path)
        for _ in range(2):
            with pytest.raises(SinkFailed):
                self._open_and_put(settings)

    def _open_and_put(self, settings: Options) -> None:
        sink = self.open(settings)
        try:
            sink.put(example_messages(1))
        finally:
            sink.close()

    @since(1, 0)
    def test_close_twice(self, tmp_path: Path) -> None:
        """Closing a sink that is closed does nothing."""
        sink = self.open(self.settings(tmp_path))
        sink.close()
        sink.close()

    @since(1, 0)
    def test_put_after_close_is_refused(self, tmp_path: Path) -> None:
        """Put after close is SinkFailed: the message is not lost in silence."""
        sink = self.open(self.settings(tmp_path))
        sink.close()
        with pytest.raises(SinkFailed):
            sink.put(example_messages(1))

    @since(1, 0)
    def test_refuses_nonsense_settings(self) -> None:
        """Settings that make no sense are ConfigError when the sink is opened."""
        if not self.nonsense:
            needs("nonsense, sets of settings that make no sense")
        for settings in self.nonsense:
            assert_refused(ConfigError, partial(self._open_and_close, settings), f"{settings!r}")

    def _open_and_close(self, settings: Options) -> None:
        self.open(settings).close()

    @since(1, 0)
    def test_refuses_unknown_settings(self) -> None:
        """A setting that the spec does not list is refused."""
        with pytest.raises(EdgeaiError) as caught:
            self.open({"no_such_setting": 1}).close()
        assert not isinstance(caught.value, PluginFault)


def example_messages(count: int) -> list[Message]:
    """Results as the spool hands them over: JSON bodies, rising sequence."""
    return [
        Message(
            key=f"result-{number}",
            channel="result/lungs",
            body=json.dumps({"schema": 1, "result_id": f"result-{number}"}).encode(),
            sequence=number,
        )
        for number in range(1, count + 1)
    ]


def _pairs(messages: Sequence[Message]) -> list[tuple[str, bytes]]:
    return [(message.channel, message.body) for message in messages]
