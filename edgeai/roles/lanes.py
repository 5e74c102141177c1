"""One kind of messages on its way to one sink: what must wait, what is tried alone, and what is held against it.

A lane that is blocked blocks no other, and a message that fails blocks none of its lane: what a sink fails on as a
whole is offered again one by one, and whoever fails alone while others pass waits with a pause of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgeai.api.errors import EdgeaiError
from edgeai.api.sinks import Message

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 15.0
POSTPONED_MAX_S = 60.0

FAULTS = 3
"""Exceptions of the sink on one message alone, before that message is set aside."""

FAILURES = 5
"""The same for ``SinkFailed`` of a sink that gives no receipts, and only when others pass."""

MAX_POSTPONED = 1000
"""Messages that wait with a pause of their own, above which the whole lane does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why something does not go: a stable code, one sentence, what to do."""

    code: str
    why: str
    remedy: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Trouble:
        """What an exception says; one that is not ours is the sink's fault."""
        if isinstance(error, EdgeaiError):
            return cls(code=error.code, why=str(error), remedy=error.remedy)
        return cls(code="sink.fault", why=f"the sink raised {type(error).__name__}: {' '.join(str(error).split())}")


@dataclass(slots=True)
class Pause:
    """A pause that doubles each time, up to a bound, and is not the same for two devices."""

    longest_s: float = BACKOFF_MAX_S
    until: float = 0.0
    _next_s: float = BACKOFF_MIN_S

    def begin(self) -> None:
        """Wait from now on, twice as long as the last time."""
        self.until = time.monotonic() + self._next_s * random.uniform(0.8, 1.2)  # noqa: S311  # keeps no secret
        self._next_s = min(self.longest_s, self._next_s * 2)

    def end(self) -> None:
        """Go on; the next pause is a short one again."""
        self.until, self._next_s = 0.0, BACKOFF_MIN_S

    @property
    def is_over(self) -> bool:
        """Whether it is time again."""
        return time.monotonic() >= self.until


@dataclass(slots=True)
class _Strikes:
    count: int = 0
    passed: int = 0
    """How many messages the sink had taken when the first of them fell."""


@dataclass(slots=True)
class Lane:
    """See the module.

    Attributes:
        blocked: why nothing of it goes; ``None`` while it goes.
        refusing: code of the last refusal, ``None`` once something was taken again.
        failures: puts in a row that failed as a whole.
    """

    name: str
    pause: Pause = field(default_factory=Pause)
    blocked: Trouble | None = None
    refusing: str | None = None
    failures: int = 0
    _probe: int = 0
    _alone: set[int] = field(default_factory=set)
    _strikes: dict[int, _Strikes] = field(default_factory=dict)
    _postponed: dict[int, Pause] = field(default_factory=dict)

    @property
    def surplus(self) -> int:
        """How many messages may stand in the row before those that may go."""
        return len(self._postponed)

    def ready(self, messages: Sequence[Message]) -> list[Message]:
        """Those that do not wait for a pause of their own."""
        return [m for m in messages if m.sequence not in self._postponed or self._postponed[m.sequence].is_over]

    def due(self) -> float:
        """When there is something to do again, monotonic seconds."""
        return max(self.pause.until, min((pause.until for pause in self._postponed.values()), default=0.0))

    # --- as a whole -------------------------------------------------------------------------------

    def block(self, trouble: Trouble) -> None:
        """Nothing of it goes; try again after a pause that doubles."""
        self.blocked = trouble
        self.pause.begin()

    def passed(self) -> None:
        """Something of it went."""
        self.blocked = None
        self.failures = self._probe = 0
        self.pause.end()

    # --- one by one -------------------------------------------------------------------------------

    def separate(self, messages: Iterable[Message]) -> None:
        """A sink failed on all of these at once: they are tried alone until each has come to an end."""
        self._alone.update(message.sequence for message in messages)

    def must_be_alone(self, messages: Iterable[Message]) -> bool:
        """Whether one of these is to be tried alone."""
        return any(message.sequence in self._alone for message in messages)

    def postpone(self, messages: Sequence[Message]) -> bool:
        """Let these wait aside while others go; False when too many do."""
        for message in messages:
            self._postponed.setdefault(message.sequence, Pause(longest_s=POSTPONED_MAX_S)).begin()
        return len(self._postponed) <= MAX_POSTPONED

    def strike(self, message: Message, passed: int, *, is_fault: bool, may_stand_alone: bool) -> bool:
        """The sink failed on it alone; whether that was once too often.

        It is when the sink took others meanwhile. A fault also is when no other message is under suspicion: where all
        fail, it is the sink, and nothing is held against what it was given.

        Args:
            message: what it failed on.
            passed: how many messages the sink has taken so far.
            is_fault: it raised what no sink should.
            may_stand_alone: whether one message alone may be found guilty with no other to compare it with.
        """
        held = self._strikes.setdefault(message.sequence, _Strikes(passed=passed))
        held.count += 1
        is_only_one = is_fault and may_stand_alone and len(self._strikes) == 1
        return held.count >= (FAULTS if is_fault else FAILURES) and (passed > held.passed or is_only_one)

    def probes(self, messages: Sequence[Message], count: int) -> list[Message]:
        """The order after the first has failed: begin at another place each time, so that none is never tried."""
        rest = list(messages[1:])
        begin = self._probe % max(1, len(rest))
        self._probe += count
        return rest[begin:] + rest[:begin]

    def keep(self, messages: Sequence[Message]) -> None:
        """These are all that wait: whatever is known of others is of no use any more."""
        known = {*self._alone, *self._strikes, *self._postponed}
        self.over(known - {message.sequence for message in messages})

    def over(self, sequences: Iterable[int]) -> None:
        """These have come to an end."""
        for sequence in sequences:
            self._alone.discard(sequence)
            self._strikes.pop(sequence, None)
            self._postponed.pop(sequence, None)
