"""What was measured of threads, kept from process to process: a small file for each artifact, engine and machine.

A measurement is noted before it begins. One that its process did not survive is not begun again for a day, so that an
engine that dies of more threads than its own goes on with those. One that said little, since others were at
work, is begun again after a pause, each twice as long as the one before.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.model.hardware import hardware

_SCHEMA: Final = 1
_MOST_FILES: Final = 64
"""In one folder; the oldest go. Updates leave records of bundles that will never run here again."""
_DAY_S: Final = 24 * 3600.0
_PAUSE_S: Final = 60.0
_MOST_TRIES: Final = 8
"""After these, two hours in all, the machine is taken to be always as busy as it was."""
MOST_THREADS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """On how many threads single frames run.

    Attributes:
        count: as ``OpenRequest.threads`` has it; 0 is the engine's own number.
        why: one sentence.
        own_ms: one inference on the engine's own number; 0 where it was not measured.
        ms: the same on ``count``.
    """

    count: int = 0
    why: str = ""
    own_ms: float = 0.0
    ms: float = 0.0

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 0 <= self.count <= MOST_THREADS or type(self.why) is not str:
            raise ValueError("no number of threads, or no reason")

    def __str__(self) -> str:
        return f"{self.count or 'its own'}: {self.why}"


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


class KeptThreads:
    """The record of one artifact on one engine of this machine.

    Args:
        folder: where records lie.
        facts: whatever makes a record stale, beside the hardware and the cores that this process may use.
        now: seconds since the epoch.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], *, now: Callable[[], float] = time.time) -> None:
        body = {"schema": _SCHEMA, "facts": dict(facts), "cores": cores(), "hardware": hardware()}
        self._key = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
        self._path = folder / f"{self._key[:32]}.json"
        self._now = now
        self._tries = 0

    @property
    def is_last_try(self) -> bool:
        """Whether the measurement that has begun counts whatever it is worth."""
        return self._tries >= _MOST_TRIES

    def read(self) -> Threads | None:
        """What was measured; ``None`` when nothing was, or nothing that can be read."""
        try:
            return Threads(**self._body()["threads"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self) -> float:
        """Seconds to wait until a measurement may begin; 0 when it has begun, and is noted.

        Infinite where another process has begun one and not ended it, within a day, or where none can be kept.
        """
        self._tries = 0
        with suppress(OSError, ValueError, KeyError, TypeError):
            body = self._body()
            since_s = self._now() - float(body["at"])
            self._tries = int(body["tries"])
            if body["ended"] is not True and 0 <= since_s < _DAY_S:
                return math.inf
            pause_s = min(_PAUSE_S * 2.0 ** (self._tries - 1), _DAY_S)
            if body["ended"] is True and 0 <= since_s < pause_s:
                return pause_s - since_s
        self._tries += 1
        return 0.0 if self._write({"at": self._now(), "tries": self._tries, "ended": False}) else math.inf

    def keep(self, threads: Threads) -> None:
        """The measurement has ended with this."""
        if self._write({"threads": asdict(threads)}):
            self._prune()

    def put_off(self) -> None:
        """The measurement has ended, and says little."""
        self._write({"at": self._now(), "tries": self._tries, "ended": True})

    def _body(self) -> dict[str, Any]:
        body = json.loads(self._path.read_text(encoding="utf-8"))
        if body["key"] != self._key:
            raise ValueError("another record")
        return dict(body)

    def _write(self, body: Mapping[str, Any]) -> bool:
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"key": self._key, **body}) + "\n", encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            return False
        return True

    def _prune(self) -> None:
        with suppress(OSError):
            records = sorted(self._path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for old in records[:-_MOST_FILES]:
                old.unlink(missing_ok=True)
