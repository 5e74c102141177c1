"""After an image was refused for want of room: whether there is room again, for whatever the lack was."""

from __future__ import annotations

from edgeai.spool.counters import add_count
from edgeai.spool.intake import Intake
from edgeai.spool.outbox import queue_event
from edgeai.spool.soundness import try_writing

_OWED = "room_owed"
"""A counter that is there while it has been said that there is no room, and not yet that there is some again."""
_TRIAL_BYTES = 4096


class Refusing(Intake):
    """What ingest calls beside ``Intake``. What was said outlives a restart, which may be what makes room."""

    def say_full(self, kind: str, message: str, **facts: object) -> None:
        """Queue an event of refusal for want of room; from then on ``owes_room``."""
        with self.db.write() as db:
            queue_event(self, db, kind, message, **facts)
            add_count(db, _OWED)
        self.bells.ring("publish")

    def owes_room(self) -> bool:
        """Whether ``spool.room`` is still to be said."""
        with self.db.read() as db:
            return db.execute("SELECT 1 FROM counters WHERE name = ?", (_OWED,)).fetchone() is not None

    def check_takes(self, extra_bytes: int = 0) -> None:
        """Whether an image would be taken now, whichever deployment it is for; nothing is given up to find out.

        Raises:
            SpoolFull: no room, of whatever kind.
            SpoolError: the disk or the database does not answer.
        """
        self.check_room(extra_bytes, only_look=True)
        with self.db.read() as db:
            held = [str(row[0]) for row in db.execute("SELECT deployment FROM holds")]
        self.check_held(held)
        try_writing(self, _TRIAL_BYTES)

    def say_room(self) -> None:
        """Queue ``spool.room``; nothing is owed any more."""
        with self.db.write() as db:
            db.execute("DELETE FROM counters WHERE name = ?", (_OWED,))
            queue_event(self, db, "spool.room", "there is room again; images are accepted")
        self.bells.ring("publish")


__all__ = ["Refusing"]
