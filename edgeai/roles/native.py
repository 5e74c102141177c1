"""What foreign code prints becomes records of the log, not lines amid JSON.

One that names the image it was printed for; and of what is printed at any other time one each half second.

Decoders (OpenJPEG, CharLS, libjpeg) and engines write to descriptors 1 and 2 without asking Python; so may a plugin's
sink, and any library at any time.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from edgeai.logs import Log
from edgeai.process import flush_native, punch_hole

SHOWN: Final = 500
"""Characters of what was printed that stand in the record."""

POLL_S: Final = 0.5

log = Log("edgeai.roles.native")


def keep_the_log_apart() -> None:
    """Give this process's own log, which goes to ``sys.stderr``, a descriptor that no native library knows."""
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)


class _File:
    """A file in memory that whoever prints appends to; each byte is told once, however busy both sides are.

    What was told is let go of as a hole: a file that is cut to nothing would lose what came while it was looked at.
    """

    def __init__(self) -> None:
        self.number = os.memfd_create("printed", os.MFD_CLOEXEC)
        fcntl.fcntl(self.number, fcntl.F_SETFL, os.O_APPEND)
        self._told = 0

    def tell(self, **facts: object) -> None:
        """One record of what was printed since the last, if anything."""
        begin, end = self._told, os.fstat(self.number).st_size
        if end > begin:
            text = os.pread(self.number, min(SHOWN, end - begin), begin).decode("utf-8", "replace")
            punch_hole(self.number, end)
            self._told = end
            log.warning("native.printed", **facts, text=" ".join(text.split()), bytes=end - begin)

    def close(self) -> None:
        os.close(self.number)


class _Printed:
    """What has been printed since the first of those that are under way began, and who they are."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._under_way: dict[object, dict[str, object]] = {}
        self._file: _File | None = None
        self._before: tuple[int, int] = (-1, -1)

    def begin(self, key: object, facts: dict[str, object]) -> None:
        with self._guard:
            if self._file is not None:
                flush_native()
                self._file.tell(**self._facts())
            else:
                self._file = self._divert()
            self._under_way[key] = facts

    def end(self, key: object) -> None:
        with self._guard:
            flush_native()
            facts, file = self._facts(), self._file
            assert file is not None
            del self._under_way[key]
            if not self._under_way:
                self._restore()
            file.tell(**facts)
            if not self._under_way:
                file.close()
                self._file = None

    def _divert(self) -> _File:
        flush_native()
        file = _File()
        self._before = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(file.number, number)
        return file

    def _facts(self) -> dict[str, object]:
        """Those of the one that is under way; of several, lists: which of them printed is not known."""
        all_facts = list(self._under_way.values())
        if len(all_facts) == 1:
            return all_facts[0]
        names = dict.fromkeys(name for facts in all_facts for name in facts)
        return {f"{name}s": [facts[name] for facts in all_facts if name in facts] for name in names}

    def _restore(self) -> None:
        for number, own in zip((1, 2), self._before, strict=True):
            os.dup2(own, number)
            os.close(own)


_printed = _Printed()


@contextmanager
def told_as_one(**facts: object) -> Iterator[None]:
    """What is printed inside is one record, with these facts; nothing printed, no record.

    The descriptors are the process's: what is printed while several are under way is a record of its own, that names
    them all. What is printed by a process that dies of it is lost; its death is told by the supervisor.
    """
    key = object()
    _printed.begin(key, facts)
    try:
        yield
    finally:
        _printed.end(key)


class Rest:
    """From now on descriptors 1 and 2 lead nowhere but into the log, whatever thread or child writes to them.

    Into memory and not through a pipe: whoever prints never waits for a reader, whose turn may not come while it does.
    """

    def __init__(self) -> None:
        flush_native()
        self._printed = _File()
        for number in (1, 2):
            os.dup2(self._printed.number, number)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="printed", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_S):
            self._printed.tell()

    def close(self) -> None:
        """Say what is left, as the last act of a process."""
        self._is_over.set()
        self._thread.join()
        flush_native()
        self._printed.tell()
