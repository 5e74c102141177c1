"""What a card's ``[choice]`` asks of a task that does not choose it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from edgeai.api import ConfigError


def refused_wish(task: str, strange: str, known: Sequence[str], *, remedy: str) -> ConfigError:
    """The error for an option that the task does not choose, with the one that may be meant."""
    near = difflib.get_close_matches(strange, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return ConfigError(f"[choice] {task} does not choose {strange}{hint}", code="config.card-choice", remedy=remedy)
