"""Where results go: messages, what becomes of them, and what takes them. No numpy: the publisher has no use for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgeai.api.options import Options, OptionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing to publish: ``body`` is UTF-8 JSON; (``key``, ``attempt``) is stable over retries."""

    key: str
    """The result id, or an identifier of the event's own."""
    channel: str
    """``result/<deployment>``, ``event`` or ``status``."""
    body: bytes
    sequence: int = 0
    """Rises by one a message of this device; order within a channel is order of this. After a power cut the last few
    numbers may be used again: what outlives the process goes by ``key`` and ``attempt``."""
    attempt: int = 1
    """Of a result: receivers deduplicate by (result id, attempt), and the highest attempt counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one message of a ``put``.

    Attributes:
        sequence: the message's own.
        verdict: ``delivered``: it is safe on the other side; ``refused``: the other side will never take it;
            ``later``: offer it again after a pause.
        code: stable; why it was not delivered.
        reason: the same in one sentence.
    """

    sequence: int
    verdict: Literal["delivered", "refused", "later"]
    code: str = ""
    reason: str = ""


class Sink(Protocol):
    """Where results go. ``put`` says what became of each message.

    Two attributes are a sink's own choice. ``gives_receipts = True``: ``SinkFailed`` speaks of the sink as a whole and
    never of a message, and ``put([])`` asks whether the other side is there. ``verified = False``: that side cannot
    say that it refuses a message.
    """

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt] | None:
        """Deliver all, in order, each at least once.

        Returns:
            A receipt for each message; one without a receipt is offered again. ``None`` means that all were delivered.

        Raises:
            SinkFailed: nothing is assumed delivered; all are offered again, after a pause.
        """
        ...

    def close(self) -> None:
        """Twice is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkRequest:
    """Open a sink: the device's identity and the configuration's table for it."""

    device_id: str
    site: str
    settings: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSpec:
    """A kind of destination."""

    name: str
    open: Callable[[SinkRequest], Sink]
    settings: tuple[OptionSpec, ...] = ()
    help: str = ""
