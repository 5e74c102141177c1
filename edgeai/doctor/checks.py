"""What a finding is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, what was found, and what to do about it when ``verdict`` is not ``ok``."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""
