"""What an arrival is beside its UID: SHA-256 of its transfer syntax UID and the bytes of its data set.

File Meta Information (PS3.10 7.1) is left out: each receiver writes its own. So the same image from a folder and by
C-STORE has the same digest. It is computed on threads beside the one that receives, which reads the socket meanwhile.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

from edgeai.dicom.header import data_set_start

GIVES_WAY: Final = 10
"""By how much nicer than the process the threads are that hash."""
_THREADS: Final = 2
_LEAST_BYTES: Final = 1024 * 1024
_MOST_BYTES: Final = 4 * 1024 * 1024
"""What is hashed at a time: enough that threads seldom change places, little enough not to stay far behind."""


class ContentDigest:
    """Follows a file as it grows. ``reach`` and ``finish`` say how far it is written; ``result`` waits for the digest.

    Args:
        descriptor: of the file, open for reading; closed when the digest is done or given up.
        transfer_syntax_uid: of its data set.
        start: where the data set begins.
    """

    def __init__(self, descriptor: int, transfer_syntax_uid: str, *, start: int) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.sha256(transfer_syntax_uid.encode() + b"\0")
        self._at = self._written = start
        self._is_finished = False
        self._is_running = False
        self._error: OSError | None = None
        self._changed = threading.Condition()

    @classmethod
    def of_file(cls, path: Path) -> ContentDigest:
        """Of a complete file, begun at once.

        Raises:
            DicomRejected: as ``read_header``.
            OSError: it cannot be read.
        """
        start, transfer_syntax_uid = data_set_start(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        digest = cls(descriptor, transfer_syntax_uid, start=start)
        digest.finish(os.fstat(descriptor).st_size)
        return digest

    def reach(self, written: int) -> None:
        """The file has this many bytes now, and will have more."""
        with self._changed:
            self._written = written
            if self._written - self._at >= _LEAST_BYTES:
                self._run()

    def finish(self, written: int) -> None:
        """The file has this many bytes, and no more will come."""
        with self._changed:
            self._written, self._is_finished = written, True
            self._run()

    def result(self) -> str:
        """``sha256:<hex>``, as soon as it is there.

        Raises:
            OSError: the file could not be read.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_running)
            if self._error is not None:
                raise self._error
            assert self._is_finished
            return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """Give up. Twice is fine."""
        with self._changed:
            self._is_finished = True
            self._written = self._at
            self._changed.wait_for(lambda: not self._is_running)
            self._close()

    def _run(self) -> None:
        if not self._is_running and self._descriptor >= 0:
            self._is_running = True
            _pool().submit(self._follow)

    def _follow(self) -> None:
        while (span := self._next_span()) is not None:
            at, size = span
            try:
                self._hash_span(at, size)
            except (OSError, ValueError) as error:
                self._fail(error if isinstance(error, OSError) else OSError(f"the file ends before byte {at + size}"))
                return
            with self._changed:
                self._at += size

    def _hash_span(self, at: int, size: int) -> None:
        """Straight out of the page cache: a copy would cost a sixth of the time. The file is ours; nobody cuts it."""
        start = at - at % mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(self._descriptor, at + size - start, access=mmap.ACCESS_READ, offset=start) as pages:
            view = memoryview(pages)
            try:
                self._hash.update(view[at - start :])
            finally:
                view.release()

    def _next_span(self) -> tuple[int, int] | None:
        """Offset and size of what to hash next; None when this thread is done, decided in one with saying so."""
        with self._changed:
            left = self._written - self._at
            if left >= _LEAST_BYTES or (left > 0 and self._is_finished):
                return self._at, min(_MOST_BYTES, left)
            self._stop()
            return None

    def _fail(self, error: OSError) -> None:
        with self._changed:
            self._error, self._is_finished = error, True
            self._stop()

    def _stop(self) -> None:
        self._is_running = False
        if self._is_finished:
            self._close()
        self._changed.notify_all()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="content", initializer=_give_way)


def _give_way() -> None:
    """Whoever receives comes first: what is not hashed when the last byte has come is while the disk writes."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.nice(GIVES_WAY)
