"""The durable store that the roles meet at: instances, jobs, messages, faults, notes; and the doorbells.

The database is the truth; a datagram is only a doorbell; a note (see ``station``) is only what a role was doing.
What each part promises stands in its own module:

=========== ==================================================================================================
`Intake`    ``check_room`` ``admit`` ``knows`` ``event`` ``backlog``            ingest
`Refusing`  ``say_full`` ``owes_room`` ``check_takes`` ``say_room``             ingest
`Work`      ``claim`` ``condemned`` ``finish`` ``give_back`` ``release`` ``blame``  infer, supervise
`Requiring` ``unseen`` ``ends_of`` ``await_end`` ``clear`` ``take``            infer
`Holding`   ``hold`` ``lift`` ``holds``                                         infer, ``edgeai status``
`Again`     ``failed`` ``do_again`` ``unfinished_of``                           ``edgeai rerun``
`Outbox`    ``enable_sinks`` ``pending`` ``published``                          publish
`Metrics`   ``histograms`` ``counters`` ``count``                               publish, ``edgeai status``
`Faults`    ``fault`` ``faults`` ``quarantined`` ``pardon``                     supervise, infer
`Trials`    ``trial_due`` ``trial_failed`` ``release_plugin``                   supervise, trial
`Updating`  ``is_mid_series`` ``own_deaths`` ``forgive_since`` ``say_moves``   infer
`Upkeep`    ``recover`` ``sweep``                                               supervise
`History`   ``recent`` ``withheld_lately``                                      publish, ``edgeai status``
`Spool`     all of them, and ``station`` / ``beat`` / ``notes``, ``bells``      every role
=========== ==================================================================================================
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeai.spool.access import check_access
from edgeai.spool.admission import Admission
from edgeai.spool.again import Again, FailedJobs, Selection
from edgeai.spool.counters import BUCKETS_MS, Counter, Histogram, Metrics
from edgeai.spool.database import is_legacy
from edgeai.spool.faults import Faults, Quarantine
from edgeai.spool.history import Finished, History, Lately
from edgeai.spool.holding import NOT_DEPLOYED, Hold, Holding
from edgeai.spool.outbox import EVENT_SCHEMA, Outbox
from edgeai.spool.refusing import Refusing
from edgeai.spool.requiring import End, Requiring
from edgeai.spool.station import FAILED, Note, Station, Underway, is_held, read_note
from edgeai.spool.store import DefaultLimits, Limits, Store
from edgeai.spool.trials import Trials
from edgeai.spool.updating import Saying, Updating
from edgeai.spool.upkeep import SWEEP_ROWS, Upkeep
from edgeai.spool.work import Cause, Job

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig

__all__ = [
    "BUCKETS_MS",
    "EVENT_SCHEMA",
    "FAILED",
    "NOT_DEPLOYED",
    "SWEEP_ROWS",
    "Admission",
    "Cause",
    "Counter",
    "DefaultLimits",
    "End",
    "FailedJobs",
    "Finished",
    "Histogram",
    "Hold",
    "Job",
    "Lately",
    "Limits",
    "Note",
    "Quarantine",
    "Saying",
    "Selection",
    "Spool",
    "Station",
    "Store",
    "Underway",
    "check_access",
    "is_held",
    "is_legacy",
    "owner_name",
    "read_note",
]


class Spool(Refusing, Requiring, Holding, Again, Outbox, Updating, Metrics, Faults, Trials, Upkeep, History):
    """The store of one device. Safe in several threads and processes at once.

    Args:
        folder: made if it is not there; ``<data_dir>/spool``.
        limits: ``config.spool``.
        site, device_id: for the envelope of events.

    Raises:
        SpoolError: ``spool.schema``, ``spool.corrupt``, ``spool.unreadable``.
        SpoolFull: the disk is full.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, *, site: str = "", device_id: str = "") -> None:
        super().__init__(folder, limits, site=site, device_id=device_id)
        self._stations: dict[str, Station] = {}

    @classmethod
    def of(cls, config: DeviceConfig) -> Spool:
        """The spool of a profile."""
        device = config.device
        return cls(device.data_dir / "spool", config.spool, site=device.site, device_id=device.id)

    def station(self, role: str) -> Station:
        """Take the place of ``role``: its lock and its note. The same one again within this process.

        Raises:
            SpoolError: ``spool.locked`` when another process has it.
        """
        if role not in self._stations:
            self._stations[role] = Station(self.roles, role)
        return self._stations[role]

    def beat(self, role: str, state: str | None = None, **detail: Any) -> None:
        """Say that ``role``, which this process runs, lives; call it each ``supervise.heartbeat_s``."""
        self.station(role).beat(state, **detail)

    def notes(self) -> dict[str, Note]:
        """Role -> what it last said, those of dead roles included (see ``is_held``)."""
        by_role = {path.stem: read_note(path) for path in sorted(self.roles.glob("*.note"))}
        return {role: note for role, note in by_role.items() if note is not None}

    def ring(self, role: str) -> None:
        """Wake a role that waits."""
        self.bells.ring(role)

    def wait(self, role: str, timeout_s: float) -> bool:
        """Wait for a ring or the time to pass; True when it rang."""
        return self.bells.wait(role, timeout_s)

    def close(self) -> None:
        """Let go of stations, bells and connections. Twice is fine."""
        while self._stations:
            self._stations.popitem()[1].close()
        super().close()


def owner_name(role: str) -> str:
    """A name for claims that no other process, now or after a restart, will have."""
    return f"{role}/{os.getpid()}/{secrets.token_hex(8)}"
