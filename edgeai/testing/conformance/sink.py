"""What the host relies on in a sink: when ``put`` returns, the other side has every message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from edgeai.api import ConfigError, EdgeaiError, Message, Options, PluginFault, Sink, SinkFailed, SinkRequest, SinkSpec
from edgeai.testing.conformance.suite import Suite, assert_refused, since


class SinkConformance(Suite):
    """Subclass it once for each sink; give ``settings``, ``delivered`` and, where it can fail, ``failing_settings``.

    Attributes:
        sink: ``SinkSpec.name``.
        nonsense: settings that ``open`` must refuse as ``ConfigError``.
    """

    kind: ClassVar[str] = "sink"
    sink: ClassVar[str] = ""
    nonsense: ClassVar[Sequence[Options]] = ()

    def settings(self, folder: Path) -> Options:
        """Settings with which the sink works; ``folder`` is empty and this test's own."""
        pytest.skip("the author gives no settings")

    def delivered(self, folder: Path) -> list[tuple[str, bytes]]:
        """(channel, body) of what has arrived on the other side, in order, repeats included."""
        pytest.skip("the author does not say what was delivered")

    def failing_settings(self, folder: Path) -> Options:
        """Settings with which nothing can be delivered (a closed port, a folder that cannot be written)."""
        pytest.skip("the author gives no settings that fail")

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

    @since(1, 0)
    def test_put_delivers(self, opened: Sink, tmp_path: Path) -> None:
        """When put returns, the other side has the messages, in order and to the byte."""
        messages = example_messages(5)
        opened.put(messages[:1])
        assert self.delivered(tmp_path) == _pairs(messages[:1])
        opened.put(messages[1:])
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 0)
    def test_nothing_to_put(self, opened: Sink, tmp_path: Path) -> None:
        """An empty batch is fine and delivers nothing."""
        opened.put([])
        assert self.delivered(tmp_path) == []

    @since(1, 0)
    def test_offered_again(self, opened: Sink, tmp_path: Path) -> None:
        """Messages may be offered again (at least once): each is there, in order."""
        messages = example_messages(3)
        opened.put(messages)
        opened.put(messages)
        delivered = self.delivered(tmp_path)
        assert list(dict.fromkeys(delivered)) == _pairs(messages)

    @since(1, 0)
    def test_large_and_foreign_bodies(self, opened: Sink, tmp_path: Path) -> None:
        """A body of a quarter megabyte and one with every kind of letter arrive to the byte."""
        bodies = [
            json.dumps({"n": "x" * 250_000}).encode(),
            json.dumps({"ä": "漢字 \n\t\\"}, ensure_ascii=False).encode(),
        ]
        messages = [Message(key=f"k{n}", channel="event", body=body, sequence=n) for n, body in enumerate(bodies)]
        opened.put(messages)
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 0)
    def test_opened_again_keeps_what_was_there(self, tmp_path: Path) -> None:
        """Closing and opening again loses nothing that was delivered."""
        settings = self.settings(tmp_path)
        messages = example_messages(4)
        for batch in (messages[:2], messages[2:]):
            sink = self.open(settings)
            sink.put(batch)
            sink.close()
        assert self.delivered(tmp_path) == _pairs(messages)

    @since(1, 0)
    def test_another_thread_may_put(self, opened: Sink, tmp_path: Path) -> None:
        """A sink opened in one thread delivers from another."""
        messages = example_messages(2)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(opened.put, messages).result()
        assert self.delivered(tmp_path) == _pairs(messages)

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
            pytest.skip("the author gave no nonsense settings")
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
