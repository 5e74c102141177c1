"""Whether what was shown beside what runs has shown enough: one rule for the cart and for who simulates it. Pure."""

from __future__ import annotations

from typing import Literal

from edgeai.agreement import interval
from edgeai.slots.record import Shadow


def judge(shadow: Shadow) -> tuple[Literal["goes on", "good", "bad"], str, str]:
    """Whether it has shown enough; with an end the code and the reason in one sentence."""
    low, high = interval(shadow.agreed, shadow.compared)
    last = f"; the last: {shadow.last}" if shadow.last else ""
    figures = f"{shadow.agreed} of {shadow.compared} images (between {low:.1%} and {high:.1%})"
    asked = f"{shadow.needed:.1%} are asked for"
    if low >= shadow.needed:
        return "good", "", f"it agreed with what runs on {figures}, {asked}"
    if high < shadow.needed:
        return "bad", "slots.disagrees", f"it agreed with what runs on {figures}, and {asked}{last}"
    if shadow.compared >= shadow.most:
        why = f"it agreed with what runs on {figures}, which does not show that it does on {shadow.needed:.1%}{last}"
        return "bad", "slots.not-shown", why
    return "goes on", "", ""
