"""A role's place: the lock that makes it the only one, and the note of what it is doing this moment.

The note is the beginning of a file, written whole by one ``pwrite``: no fsync and no transaction, so that it costs
microseconds a step, and it survives ``kill -9`` because the bytes are the kernel's. After a power cut it means
nothing, and needs to mean nothing. Readers check its CRC, so a note half-way through a write is never believed.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeai.api.errors import SpoolError

MAX_DETAIL_BYTES = 16_384
"""A note whose detail is longer goes without it: the steps are what matters."""


FAILED = "failed"
"""The state of a role that has ended by an error; ``code``, ``why`` and ``remedy`` are in its detail."""

_HEAD = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """Something risky that is under way.

    Attributes:
        step: ``job``, or one that ``open_model`` names: ``load``, ``probe``, ``open``, ``decode``, ``run``.
        since: monotonic seconds.
        deadline_s: after this long it is ended; 0 for never.
        thread: ``threading.get_ident()`` of who does it.
    """

    step: str
    since: float
    thread: int
    deadline_s: float = 0.0
    job_id: int | None = None
    plugin: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a role last said of itself. ``beat_at`` is monotonic seconds; it means nothing after a reboot."""

    role: str
    pid: int
    state: str
    beat_at: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Underway, ...] = ()

    def age_s(self) -> float:
        """Seconds since it last spoke."""
        return max(0.0, time.monotonic() - self.beat_at)


class Station:
    """Held by a running role. One process at a time; the kernel frees it however that process ends.

    Raises:
        SpoolError: ``spool.locked`` when another process holds it.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self.role = role
        self._file = os.open(folder / f"{role}.note", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(self._file):
            os.close(self._file)
            raise SpoolError(
                f"another process runs the role {role} on this data_dir",
                code="spool.locked",
                remedy="stop it first; `edgeai status` names its process",
            )
        self._state = "starting"
        self._detail: Mapping[str, Any] = {}
        self._said = ""
        self._steps: dict[int, str] = {}
        self._next = 0
        self._guard = threading.Lock()
        self.beat()

    def beat(self, state: str | None = None, **detail: object) -> None:
        """Say that this role lives; ``state`` and ``detail`` stay as they were when not given."""
        with self._guard:
            self._state = state or self._state
            self._detail = detail or self._detail
            detail_json = json.dumps(self._detail)
            self._said = detail_json if len(detail_json) <= MAX_DETAIL_BYTES else "{}"
            self._write()

    @contextmanager
    def step(
        self, step: str, *, deadline_s: float = 0.0, job_id: int | None = None, plugin: str = "", version: str = ""
    ) -> Iterator[None]:
        """Note that ``step`` is under way, until the block ends. Steps may nest, and overlap between threads."""
        mine = Underway(
            step=step,
            since=time.monotonic(),
            thread=threading.get_ident(),
            deadline_s=deadline_s,
            job_id=job_id,
            plugin=plugin,
            version=version,
        )
        text = json.dumps({name: getattr(mine, name) for name in mine.__slots__})
        with self._guard:
            self._next += 1
            key = self._next
            self._steps[key] = text
            self._write()
        try:
            yield
        finally:
            with self._guard:
                del self._steps[key]
                self._write()

    def _write(self) -> None:
        # Put together from parts that are JSON already: it is written twice a step, in the middle of the hot path.
        text = (
            f'{{"role": {json.dumps(self.role)}, "pid": {os.getpid()}, "state": {json.dumps(self._state)},'
            f' "beat_at": {time.monotonic()!r}, "detail": {self._said}, "steps": [{", ".join(self._steps.values())}]}}'
        ).encode()
        if self._file >= 0:
            # Length and CRC first; what an earlier, longer note left behind the end does not matter.
            os.pwrite(self._file, b"%08x %08x %s" % (len(text), zlib.crc32(text), text), 0)

    def close(self) -> None:
        """Let go. Twice is fine."""
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


def _locked(file: int) -> bool:
    """Take the lock, with patience for one who only asks whether it is held, or who is dying."""
    end = time.monotonic() + 1.0
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True


def read_note(path: Path) -> Note | None:
    """The note in one role's file; None when there is none or it cannot be trusted."""
    for _ in range(3):
        try:
            page = path.read_bytes()
            text = page[_HEAD : _HEAD + int(page[:8], 16)]
        except (OSError, ValueError):
            return None
        if page[9:17] == b"%08x" % zlib.crc32(text):
            return _note(json.loads(text))
    return None


def _note(body: dict[str, Any]) -> Note:
    steps = tuple(Underway(**step) for step in body.pop("steps"))
    return Note(**body, steps=steps)


def is_held(path: Path) -> bool:
    """Whether a living process holds this station."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
