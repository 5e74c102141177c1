"""What a plugin opened or built, with every method guarded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from edgeai.api import Finding, Frame, MaskTask, Message, Receipt, Session, Sink, Source, Task, Tensors, Transform
from edgeai.guards.faults import HOSTS_OWN, Feed, PluginInfo, broken, fault, guard, guarded_call

VERDICTS = ("delivered", "refused", "later")
"""What a receipt may say."""


class GuardedSession:
    """See ``Session``."""

    __slots__ = ("_info", "_session", "_step", "close", "run")

    def __init__(self, info: PluginInfo, step: str, session: Session) -> None:
        self._info, self._step, self._session = info, step, session
        self.run: Callable[[Tensors], Tensors] = guarded_call(info, f"{step}: run", session.run)
        self.close: Callable[[], None] = guarded_call(info, f"{step}: close", session.close)

    @property
    def device(self) -> str:
        """The device that was asked for."""
        with guard(self._info, f"{self._step}: device"):
            return self._session.device

    @property
    def engine(self) -> str:
        """The engine's name and version, where the session says."""
        with guard(self._info, f"{self._step}: engine"):
            return str(getattr(self._session, "engine", ""))

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order; an error of the host's own iterable is not laid on the plugin."""
        feed = Feed(inputs)
        try:
            yield from self._session.stream(feed)
        except HOSTS_OWN:
            raise
        except BaseException as error:
            if feed.error is not None and not isinstance(feed.error, StopIteration):
                raise feed.error from None
            raise fault(self._info, f"{self._step}: stream", error) from error


class GuardedTransform:
    """See ``Transform``."""

    __slots__ = ("apply",)

    def __init__(self, info: PluginInfo, step: str, transform: Transform) -> None:
        apply = guarded_call(info, f"{step}: apply", transform.apply)

        def checked(frame: Frame) -> Frame:
            answer: object = apply(frame)
            if not isinstance(answer, Frame):
                raise broken(info, f"{step}: apply", f"returned {type(answer).__name__}, not a Frame")
            return answer

        self.apply: Callable[[Frame], Frame] = checked


class GuardedTask:
    """See ``Task``."""

    __slots__ = ("interpret", "summarise")

    def __init__(self, info: PluginInfo, step: str, task: Task) -> None:
        self.interpret = _findings(info, f"{step}: interpret", task.interpret)
        self.summarise = _findings(info, f"{step}: summarise", task.summarise)


class GuardedMaskTask(GuardedTask):
    """See ``MaskTask``."""

    __slots__ = ("masks",)

    def __init__(self, info: PluginInfo, step: str, task: MaskTask) -> None:
        super().__init__(info, step, task)
        self.masks = guarded_call(info, f"{step}: masks", task.masks)


def _findings(info: PluginInfo, step: str, function: Callable[..., Any]) -> Callable[..., tuple[Finding, ...]]:
    call = guarded_call(info, step, function)

    def checked(*args: Any) -> tuple[Finding, ...]:
        answer = call(*args)
        # An empty tuple would read as "nothing found"; a task that cannot say raises TaskFailed.
        if not isinstance(answer, tuple) or not answer or not all(isinstance(f, Finding) for f in answer):
            raise broken(info, step, "returned no findings; TaskFailed says why there are none")
        return answer

    return checked


class GuardedSink:
    """See ``Sink``."""

    __slots__ = ("_info", "_sink", "_step", "close", "put")

    def __init__(self, info: PluginInfo, step: str, sink: Sink) -> None:
        self._info, self._step, self._sink = info, step, sink
        put = guarded_call(info, f"{step}: put", sink.put)

        def checked(messages: Sequence[Message]) -> tuple[Receipt, ...] | None:
            answer: Any = put(messages)
            return None if answer is None else _receipts(info, f"{step}: put", answer, messages)

        self.put: Callable[[Sequence[Message]], tuple[Receipt, ...] | None] = checked
        self.close = guarded_call(info, f"{step}: close", sink.close)

    @property
    def gives_receipts(self) -> bool:
        """Whether ``put`` answers for each message, so that ``SinkFailed`` speaks of the sink as a whole."""
        with guard(self._info, f"{self._step}: gives_receipts"):
            return bool(getattr(self._sink, "gives_receipts", False))

    @property
    def verified(self) -> bool:
        """Whether the other side says of each message if it took it; True where the sink does not say."""
        with guard(self._info, f"{self._step}: verified"):
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


class GuardedSource:
    """See ``Source``."""

    __slots__ = ("_info", "_source", "_step", "close")

    def __init__(self, info: PluginInfo, step: str, source: Source) -> None:
        self._info, self._step, self._source = info, step, source
        self.close = guarded_call(info, f"{step}: close", source.close)

    def frames(self) -> Iterator[Frame]:
        """Frames as they come."""
        with guard(self._info, f"{self._step}: frames"):
            yield from self._source.frames()
