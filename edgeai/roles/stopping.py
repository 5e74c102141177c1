"""How a role is asked to end."""

from __future__ import annotations

import signal
import threading

from edgeai.spool import Spool


def stop_by_signal(spool: Spool, role: str) -> threading.Event:
    """Set by SIGTERM and SIGINT, which wake the role from its wait too."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        spool.ring(role)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
