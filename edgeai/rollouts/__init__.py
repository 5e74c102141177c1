"""Rollouts: what ops sign about a model that goes out, and what each device makes of it by itself (ADR 0059). Pure."""

from __future__ import annotations

from edgeai.rollouts.choosing import Choice, Offered, Orders, choose, turn_of
from edgeai.rollouts.document import (
    MAX_DOCUMENT_BYTES,
    STOP_PATH,
    Approval,
    Document,
    Halting,
    Needs,
    Phase,
    Plan,
    RollBack,
    Rollout,
    RolloutError,
    Select,
    Shadow,
    Stop,
    decode,
    encode,
    kind_of,
    path_of,
)
from edgeai.rollouts.places import phase_of, place
from edgeai.rollouts.turns import Facts, Turn, turn

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "STOP_PATH",
    "Approval",
    "Choice",
    "Document",
    "Facts",
    "Halting",
    "Needs",
    "Offered",
    "Orders",
    "Phase",
    "Plan",
    "RollBack",
    "Rollout",
    "RolloutError",
    "Select",
    "Shadow",
    "Stop",
    "Turn",
    "choose",
    "decode",
    "encode",
    "kind_of",
    "path_of",
    "phase_of",
    "place",
    "turn",
    "turn_of",
]
