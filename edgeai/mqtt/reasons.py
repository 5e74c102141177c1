"""What a broker's reason codes mean for a message (MQTT 5.0 sections 3.4.2.1 and 3.14.2.1).

``docs/reference/mqtt.md`` holds the same tables, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Meaning = Literal["delivered", "refused", "later", "doubtful", "broken"]
"""``doubtful``: the broker does not say whether it will ever take it, so it is offered again, and refused if the broker
takes others meanwhile. ``broken``: the two sides do not agree on the state of the connection, which is opened anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PUBACK means: ``code`` is ours, empty for what was delivered."""

    meaning: Meaning
    code: str = ""


PUBACK: Final[Mapping[int, Answer]] = {
    0x00: Answer("delivered"),
    0x10: Answer("delivered"),
    0x80: Answer("doubtful", "mqtt.refused"),
    0x83: Answer("doubtful", "mqtt.refused"),
    0x87: Answer("refused", "mqtt.not-authorised"),
    0x90: Answer("refused", "mqtt.topic-invalid"),
    0x91: Answer("broken", "mqtt.lost"),
    0x97: Answer("later", "mqtt.quota-exceeded"),
    0x99: Answer("refused", "mqtt.payload-format"),
}
"""Every code that a PUBACK may have."""

BLAMED: Final[Mapping[int, str]] = {
    0x87: "mqtt.not-authorised",
    0x90: "mqtt.topic-invalid",
    0x95: "mqtt.too-large",
    0x99: "mqtt.payload-format",
}
"""Codes with which a broker disconnects because of one message -> ours, for the message that was on its way alone."""

TAKEN_OVER: Final = 0x8E
"""Another client connected under this client identifier."""

PATIENCE: Final[Mapping[int, str]] = {0x96: "mqtt.quota-exceeded", 0x97: "mqtt.quota-exceeded"}
"""Codes with which a broker disconnects because there was too much of all -> ours."""


def answer_to(code: int) -> Answer:
    """What a PUBACK with this reason code means; a failure that a PUBACK cannot have is doubtful."""
    if code in PUBACK:
        return PUBACK[code]
    return Answer("doubtful", "mqtt.refused") if code >= 0x80 else Answer("delivered")
