"""Two slots a deployment (A/B): which bundle runs, which one stood before, what is on probation, what failed here.

The state is written first, whole and synced; what lies in the slots' folders counts only as far as it says. After any
crash it is one that was written, and its active slot holds a bundle that was read back and is good
(ADR 0052, 0053). A plain device, with a path in its profile and no updates, has none of this.
"""

from __future__ import annotations

from edgeai.slots.bounds import bounds_told
from edgeai.slots.folder import SLOTS_NAME, SlotFolder
from edgeai.slots.moves import Order
from edgeai.slots.record import Asked, Failed, Move, Name, Probation, Shadow, Slot, Slots, SlotsError, Stage
from edgeai.slots.standing import standing
from edgeai.slots.telling import sentences, summary

__all__ = [
    "SLOTS_NAME",
    "Asked",
    "Failed",
    "Move",
    "Name",
    "Order",
    "Probation",
    "Shadow",
    "Slot",
    "SlotFolder",
    "Slots",
    "SlotsError",
    "Stage",
    "bounds_told",
    "sentences",
    "standing",
    "summary",
]
