"""The publish side: messages in order, and a place in the row for each sink of its own."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeai.api.errors import SpoolError
from edgeai.spool.metrics import add_count, add_duration
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.specs import Message

EVENT_SCHEMA = 1
"""Number of the JSON form; ``edgeai/schemas/event-1.json`` describes it."""

LANES = ("result", "event")
"""Kinds of messages that do not wait for one another."""

_UNWANTED = (
    "NOT EXISTS (SELECT 1 FROM pending WHERE pending.sequence = messages.sequence)"
    " AND NOT EXISTS (SELECT 1 FROM set_aside WHERE set_aside.sequence = messages.sequence)"
)
_SCALARS = (str, int, float, bool, type(None))


def queue_event(store: Store, db: sqlite3.Connection, kind: str, message: str, **facts: object) -> None:
    """Add an event to a transaction that is under way, so that the event stands or falls with what it tells."""
    identifier = uuid.uuid4().hex
    body = {
        "schema": EVENT_SCHEMA,
        "event_id": identifier,
        "kind": kind,
        "message": message,
        "created_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "site": store.site,
        "device_id": store.device_id,
        "facts": {name: fact if isinstance(fact, _SCALARS) else json.dumps(fact) for name, fact in facts.items()},
    }
    queue_message(db, f"event-{identifier}", "event", json.dumps(body).encode())


def queue_message(db: sqlite3.Connection, key: str, channel: str, body: bytes, *, attempt: int = 1) -> bool:
    """Add a message for every sink to a transaction that is under way; False when (key, attempt) is queued already."""
    lane = "result" if channel.startswith("result/") else "event"
    row = db.execute(
        "INSERT OR IGNORE INTO messages (key, attempt, channel, lane, body, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " RETURNING sequence",
        (key, attempt, channel, lane, body, time.time()),
    ).fetchone()
    if row is None:
        return False
    for (sink,) in db.execute("SELECT name FROM sinks").fetchall():
        _queue_for(db, sink, lane, row[0])
    return True


def _queue_for(db: sqlite3.Connection, sink: str, lane: str, sequence: int) -> None:
    db.execute("INSERT INTO pending (sink, lane, sequence) VALUES (?, ?, ?)", (sink, lane, sequence))
    add_count(db, "messages_queued", sink=sink, lane=lane)


class Outbox(Store):
    """What publish calls. Call ``enable_sinks`` once at start: it decides when a message may be forgotten."""

    def enable_sinks(self, names: Iterable[str]) -> None:
        """Say which sinks there are. One that is new starts with the oldest message still kept.

        A message is deleted once no sink waits for it; a sink no longer named holds nothing back.
        """
        wanted = set(names)
        with self.db.write() as db:
            known = {row[0] for row in db.execute("SELECT name FROM sinks")}
            for name in known - wanted:
                db.execute("DELETE FROM sinks WHERE name = ?", (name,))
            for name in sorted(wanted - known):
                db.execute("INSERT INTO sinks (name) VALUES (?)", (name,))
                for sequence, lane in db.execute("SELECT sequence, lane FROM messages ORDER BY sequence").fetchall():
                    _queue_for(db, name, lane, sequence)
            if wanted:  # with no sink enabled messages wait for one
                db.execute(f"DELETE FROM messages WHERE {_UNWANTED}")  # noqa: S608

    def pending(self, limit: int, after_sequence: int = 0, *, sink: str, lane: str = "") -> list[Message]:
        """At most ``limit`` messages that ``sink`` has not got, above ``after_sequence``, in order.

        Args:
            limit: how many at most.
            after_sequence: only messages with a higher number.
            sink: for whom.
            lane: ``result`` or ``event``; both when empty.

        Raises:
            SpoolError: ``spool.unknown-sink`` when it was not enabled.
        """
        from edgeai.api.specs import Message

        lanes = (lane,) if lane else LANES
        with self.db.read() as db:
            _known_sink(db, sink)
            rows = [
                row
                for each in lanes
                for row in db.execute(
                    "SELECT m.key, m.attempt, m.channel, m.body, m.sequence FROM pending AS p"
                    " JOIN messages AS m ON m.sequence = p.sequence"
                    " WHERE p.sink = ? AND p.lane = ? AND p.sequence > ? ORDER BY p.sequence LIMIT ?",
                    (sink, each, after_sequence, limit),
                )
            ]
        rows.sort(key=lambda row: int(row[4]))
        return [
            Message(key=key, attempt=attempt, channel=channel, body=body, sequence=number)
            for key, attempt, channel, body, number in rows[:limit]
        ]

    def published(self, sink: str, sequences: Sequence[int]) -> None:
        """``sink`` has these messages, in whatever order its acknowledgements came.

        A message leaves the spool when no sink waits for it. Losing this record (a power cut) only means that messages
        are offered again.
        """
        now = time.time()
        with self.db.write(durable=False) as db:
            _known_sink(db, sink)
            for sequence in sequences:
                row = db.execute(
                    "SELECT channel, lane, created_at FROM messages WHERE sequence = ?", (sequence,)
                ).fetchone()
                if row is None:
                    continue
                channel, lane, created_at = row
                fresh = db.execute(
                    "DELETE FROM pending WHERE sink = ? AND lane = ? AND sequence = ?", (sink, lane, sequence)
                )
                if not fresh.rowcount:
                    continue
                add_count(db, "messages_delivered", sink=sink, lane=lane)
                if lane == "result":
                    deployment = channel.partition("/")[2]
                    add_duration(db, deployment, f"publish-{sink}", max(0.0, now - created_at) * 1000.0)
                db.execute(f"DELETE FROM messages WHERE sequence = ? AND {_UNWANTED}", (sequence,))  # noqa: S608


def _known_sink(db: sqlite3.Connection, sink: str) -> None:
    if db.execute("SELECT 1 FROM sinks WHERE name = ?", (sink,)).fetchone() is None:
        raise SpoolError(f"sink {sink!r} was not enabled", code="spool.unknown-sink")
