"""Whether the spool is sound: the database's own check, the schema's text, and the files under it.

Runs on a connection of its own, which only reads: a check that takes seconds holds up nobody.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.spool.soundness import quick_check, schema_differences

SHORTEST_S: Final = 30.0
LONGEST_S: Final = 24 * 3600.0
_SHARE: Final = 0.005
"""Of the time that checking may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Outcome of a check. ``why`` is empty when the spool is sound; ``at`` is monotonic seconds."""

    why: str
    at: float
    took_s: float

    @property
    def next_after_s(self) -> float:
        """How long it holds: a small spool is looked at twice a minute, a large one at least once a day."""
        return min(LONGEST_S, max(SHORTEST_S, self.took_s / _SHARE))


def check_spool(database: Path) -> Finding:
    """Look at all of it. Never raises: what cannot be read is what was looked for."""
    begun = time.monotonic()
    why = quick_check(database) or schema_differences(database) or replaced_files(database)
    return Finding(why=why, at=time.monotonic(), took_s=time.monotonic() - begun)


def replaced_files(database: Path) -> str:
    """What of the database this process holds open and is no longer there by that name; empty when nothing."""
    wanted = re.compile(re.escape(str(database)) + r"(-wal|-shm)? \(deleted\)$")
    try:
        descriptors = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return ""
    for descriptor in descriptors:
        with suppress(OSError):
            target = str(descriptor.readlink())
            if wanted.match(target):
                return f"{Path(target.removesuffix(' (deleted)')).name} was deleted or replaced while it was in use"
    return ""
