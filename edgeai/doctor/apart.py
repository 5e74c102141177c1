"""Run a part of the examination in a process of its own, watched as the supervisor watches a role."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.config import DeviceConfig
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death

ROLE: Final = "examine"
DONE: Final = {"done": True}
"""The last answer of a process that came to its end."""

_LOOK_EVERY_S = 0.02
_STEPS: Final = {"load": "it was loaded", "probe": "it looked for its devices", "open": "it was opened"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a part said, and how its process ended.

    Attributes:
        lines: what it found, as far as it came.
        death: how it ended before it was done, as a sentence's end; empty when it came to its end.
        blamed: the plugin at whose step it ended; empty when that is not known.
    """

    lines: tuple[dict[str, Any], ...]
    death: str = ""
    blamed: str = ""


class Apart:
    """Runs parts of one profile's examination, one by one; ``limit_s`` is what a plugin may take for one step."""

    def __init__(self, config: DeviceConfig, folder: Path, limit_s: float) -> None:
        self.config = config
        self._folder = folder
        self._limit_s = limit_s
        self._count = 0

    def ask(self, part: str, *, max_memory_bytes: int = 0) -> Answer:
        """Run one part (see ``examine``) to its end, whatever that is."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        source = self.config.source
        assert source is not None
        child = Child(
            ROLE,
            source,
            folder,
            pause_min_s=0.0,
            pause_max_s=0.0,
            max_memory_bytes=max_memory_bytes,
            arguments=("--part", part, "--into", str(folder), "--limit-s", str(self._limit_s)),
            module="edgeai.doctor",
        )
        begun = time.monotonic()
        child.start()
        try:
            while not child.has_ended():
                child.check(time.monotonic(), awake_since=begun, silent_s=max(self._limit_s, 30.0))
                time.sleep(_LOOK_EVERY_S)
        finally:
            note = child.note()
            death = child.bury()
        lines = _lines(folder / "answers.jsonl")
        if lines and lines[-1] == DONE:
            return Answer(lines=lines[:-1])
        steps = note.steps if note else ()
        # What was killed from outside blames nobody in a service. Here the step that it was at says where to look.
        step = death.step or next((item for item in reversed(steps) if item.plugin), None)
        at = f" while {_STEPS.get(step.step, f'at {step.step}')}" if step else ""
        words = _last_words(folder / "output.txt")
        last_words = f"; its last words: {words}" if words else ""
        return Answer(
            lines=lines, death=f"{_how(death, self._limit_s)}{at}{last_words}", blamed=step.plugin if step else ""
        )


def _how(death: Death, limit_s: float) -> str:
    if death.cause == "deadline":
        return "its process did not come to an end in time, and was ended"
    if death.cause == "silent":
        return f"its process said nothing for {max(limit_s, 30.0):g} s, and was ended"
    if death.cause == "memory":
        return "its process held more than max_memory_bytes, and was ended"
    kind, _, value = death.how.partition("-")
    return f"its process died of {value}" if kind == "signal" else f"its process ended with status {value}"


def _lines(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return ()
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return tuple(json.loads(line) for line in whole)


def _last_words(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
