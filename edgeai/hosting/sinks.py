"""Sinks as the host has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeai.api.sinks import Message, Receipt, Sink, SinkRequest
from edgeai.hosting.faults import PluginInfo, broken, hosted_call, laid_on
from edgeai.hosting.kinds import Kind, Maker, require_methods, settings

VERDICTS = ("delivered", "refused", "later")
"""What a receipt may say."""


class HostedSink:
    """See ``Sink``."""

    __slots__ = ("_info", "_sink", "_step", "close", "put")

    def __init__(self, info: PluginInfo, step: str, sink: Sink) -> None:
        self._info, self._step, self._sink = info, step, sink
        put = hosted_call(info, f"{step}: put", sink.put)

        def checked(messages: Sequence[Message]) -> tuple[Receipt, ...] | None:
            answer: Any = put(messages)
            return None if answer is None else _receipts(info, f"{step}: put", answer, messages)

        self.put: Callable[[Sequence[Message]], tuple[Receipt, ...] | None] = checked
        self.close = hosted_call(info, f"{step}: close", sink.close)

    @property
    def gives_receipts(self) -> bool:
        """Whether ``put`` answers for each message, so that ``SinkFailed`` speaks of the sink as a whole."""
        with laid_on(self._info, f"{self._step}: gives_receipts"):
            return bool(getattr(self._sink, "gives_receipts", False))

    @property
    def verified(self) -> bool:
        """Whether the other side says of each message if it took it; True where the sink does not say."""
        with laid_on(self._info, f"{self._step}: verified"):
            return bool(getattr(self._sink, "verified", True))


def _receipts(info: PluginInfo, step: str, answer: Any, messages: Sequence[Message]) -> tuple[Receipt, ...]:
    """One receipt at most for each message that was put: two could contradict one another."""
    if not isinstance(answer, Sequence) or not all(isinstance(receipt, Receipt) for receipt in answer):
        raise broken(info, step, f"returned {type(answer).__name__}, which is neither None nor a sequence of Receipt")
    expected = {message.sequence for message in messages} | {0}  # 0: the status, which may be answered later
    numbers = [receipt.sequence for receipt in answer]
    if not set(numbers) <= expected or len(set(numbers)) < len(numbers):
        raise broken(info, step, "returned a receipt for a message that it was not given, or two for one")
    if any(receipt.verdict not in VERDICTS for receipt in answer):
        raise broken(info, step, f"returned a receipt whose verdict is none of {', '.join(VERDICTS)}")
    return tuple(answer)


def _sink(info: PluginInfo, what: str, sink: Any, _request: SinkRequest) -> Sink:
    require_methods(info, f"{what}: open", sink, "put", "close")
    return HostedSink(info, what, sink)


SINK = Kind("sink", {"open": Maker(_sink, (settings,))})
