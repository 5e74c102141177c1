"""Which message a broker will never take, where it does not say so; and whether another client takes our session.

What is not said is found out as one would by hand: whatever was on its way when a connection broke is sent again alone,
on a connection that has stood quiet for a moment. Three times the same end, and it is the message.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from edgeai.mqtt import Connection
from edgeai.mqtt.reasons import TAKEN_OVER

STRIKES = 3
"""Connections that a message may break, sent alone, before it is refused."""

QUIET_S = 0.5
"""How long a new connection must stand before it is trusted with a message that broke one."""

DOUBTS = 5
"""Answers that leave it open whether the broker will ever take a message, before others are held against it."""

DOUBTED_S = 600.0
"""How long what is no result is offered to a broker that gives such answers to all of its kind."""

_HURRY_S = 15.0
_HURRIES = 3
_PAUSE_S = (2.0, 60.0)
_FORGIVEN_S = 600.0


@dataclass(slots=True)
class _Doubt:
    since: float
    delivered: int
    answers: int = 0


@dataclass(slots=True)
class Blame:
    """What is held against messages, by their sequence numbers."""

    _strikes: dict[int, int] = field(default_factory=dict)
    _doubts: dict[int, _Doubt] = field(default_factory=dict)
    _delivered: dict[str, int] = field(default_factory=dict)

    def suspect(self, sequence: int) -> None:
        """It was among those on their way when a connection broke: from now on it is sent alone."""
        self._strikes.setdefault(sequence, 0)

    def is_suspect(self, sequence: int) -> bool:
        """Whether it must be sent alone."""
        return sequence in self._strikes

    def strikes(self, sequence: int) -> int:
        """How many connections it broke, sent alone."""
        return self._strikes.get(sequence, 0)

    def strike(self, sequence: int) -> bool:
        """It broke a connection, sent alone; whether that was once too often."""
        self._strikes[sequence] = self._strikes.get(sequence, 0) + 1
        return self._strikes[sequence] >= STRIKES

    def pardon(self, sequence: int) -> None:
        """Connections break without it too."""
        self._strikes[sequence] = 0

    def doubt(self, sequence: int, channel: str) -> bool:
        """The broker would not take it and does not say for how long; whether that was once too often.

        It is when the broker took others of the same channel meanwhile. Where it takes none, results wait, since the
        device can do nothing better with them; others do so for ``DOUBTED_S``.
        """
        now = time.monotonic()
        held = self._doubts.setdefault(sequence, _Doubt(since=now, delivered=self._delivered.get(channel, 0)))
        held.answers += 1
        overtaken = self._delivered.get(channel, 0) > held.delivered
        waited = not channel.startswith("result/") and now - held.since > DOUBTED_S
        return held.answers >= DOUBTS and (overtaken or waited)

    def delivered(self, sequence: int, channel: str) -> None:
        """The broker has it."""
        self._delivered[channel] = self._delivered.get(channel, 0) + 1
        self.clear(sequence)

    def clear(self, sequence: int) -> None:
        """Nothing is held against it any more: it arrived, or it was refused."""
        self._strikes.pop(sequence, None)
        self._doubts.pop(sequence, None)


@dataclass(slots=True)
class Twin:
    """Whether another client connects under this one's identifier, so that the broker gives the session to and fro.

    MQTT 5 has a reason for it. Of MQTT 3.1.1, and of Mosquitto 2.0 in either version, there is only the sign that a
    broker which accepts every connection closes each in good order within seconds, without a word and with nothing on
    its way.

    Attributes:
        resume_at: when to connect again, monotonic seconds, so that two devices do not fight at full speed.
    """

    resume_at: float = 0.0
    _times: int = 0
    _last_at: float = -1e9
    _hurries: int = 0
    _pause_s: float = 0.0

    def lost(self, connection: Connection, *, is_idle: bool) -> bool:
        """A connection broke; whether a twin took it."""
        loss = connection.loss
        assert loss is not None
        if loss.code == TAKEN_OVER:
            return self._took()
        age_s = time.monotonic() - connection.opened_at
        hurried = loss.code is None and loss.in_order and is_idle and age_s < _HURRY_S + self._pause_s
        self._hurries = self._hurries + 1 if hurried else 0
        return self._took() if self._hurries >= _HURRIES else False

    def unreachable(self) -> None:
        """The broker took no connection: then it was the broker that went, and no twin came."""
        self._hurries = 0

    def _took(self) -> bool:
        now = time.monotonic()
        self._times = self._times + 1 if now - self._last_at < _FORGIVEN_S else 1
        self._last_at = now
        shortest, longest = _PAUSE_S
        self._pause_s = min(longest, shortest * 2 ** (self._times - 1)) * random.uniform(0.75, 1.5)  # noqa: S311
        self.resume_at = now + self._pause_s
        return True
