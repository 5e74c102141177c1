"""When the ends of jobs are made durable: several at once, since each time costs a wait for the disk."""

from __future__ import annotations

import time
from typing import Final

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.spool import Spool

MOST: Final = 8
"""Ends that are made durable together; as many received files stay on disk until then."""
LONGEST_S: Final = 0.25
"""From an end until it is made durable, or until the job at hand then is done. A power cut before that has its job done
again, under the same result id."""
AGAIN_S: Final = 1.0
"""After the disk refused."""

log = Log("edgeai.roles.ends")


class Ends:
    """Those that a role has written and that may not be on disk yet."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._count = 1  # what an earlier life may have left
        self._due_at = 0.0

    def one_more(self) -> None:
        """An end was written, not durably."""
        if not self._count:
            self._due_at = time.monotonic() + LONGEST_S
        self._count += 1

    @property
    def due_in_s(self) -> float:
        """How long there is nothing to do for them; infinite where there are none."""
        return max(0.0, self._due_at - time.monotonic()) if self._count else float("inf")

    def make_durable_when_due(self) -> None:
        """For after each job, and between jobs."""
        if self._count >= MOST or self.due_in_s == 0.0:
            self.make_durable()

    def make_durable(self) -> None:
        """Now; where the disk refuses it is said, and they stay due, for the next life too."""
        try:
            self._spool.make_ends_durable()
            self._count = 0
        except SpoolError as error:
            log.error("spool.trouble", code=error.code, message=str(error))
            self._due_at = time.monotonic() + AGAIN_S
