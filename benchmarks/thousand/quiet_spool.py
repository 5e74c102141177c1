"""The spool of a device on which nothing happens but updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from edgeai.spool import Saying

IMAGE_MS: Final = 40.0
"""That an image takes."""


class QuietSpool:
    """What infer asks of its spool about updates.

    Args:
        folder: where it would lie.
        say: publishes a message: channel, and body.
    """

    def __init__(self, folder: Path, say: Callable[[str, dict[str, Any]], None]) -> None:
        self.folder = folder
        self._say, self._told = say, 0

    def say_moves(self, deployment: str, last: int, sayings: Iterable[Saying]) -> None:
        """Say those that were not said yet."""
        for saying in sayings:
            if saying.sequence > self._told:
                self._say("event", {"kind": saying.kind, "message": saying.message, "facts": saying.facts})
        self._told = last

    def is_mid_series(self, deployment: str, within_s: float) -> bool:
        """Never."""
        return False

    def share_withheld(self, deployment: str, *, since: float = 0.0) -> tuple[float, int]:
        """None, of many."""
        return 0.0, 100

    def usual_ms(self, deployment: str) -> float:
        """As images take here."""
        return IMAGE_MS

    def own_deaths(self, deployment: str) -> int:
        """None."""
        return 0

    def last_fault(self, deployment: str) -> tuple[int, str]:
        """None."""
        return 0, ""

    def forgive_since(self, deployment: str, fault: int) -> int:
        """Nothing."""
        return 0

    def has_failed_with(self, deployment: str, code: str, *, since: float, until: float) -> bool:
        """Never."""
        return False
