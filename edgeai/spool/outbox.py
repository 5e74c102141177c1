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
from edgeai.spool.metrics import add_duration
from edgeai.spool.store import Store

if TYPE_CHECKING:
    from edgeai.api.specs import Message

EVENT_SCHEMA = 1
"""Number of the JSON form; ``edgeai/schemas/event-1.json`` describes it."""

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


def queue_message(db: sqlite3.Connection, key: str, channel: str, body: bytes) -> bool:
    """Add a message to a transaction that is under way; False when its key is queued already."""
    done = db.execute(
        "INSERT OR IGNORE INTO messages (key, channel, body, created_at) VALUES (?, ?, ?, ?)",
        (key, channel, body, time.time()),
    )
    return done.rowcount == 1


class Outbox(Store):
    """What publish calls. Call ``enable_sinks`` once at start: it decides when a message may be forgotten."""

    def enable_sinks(self, names: Iterable[str]) -> None:
        """Say which sinks there are. One that is new starts with the oldest message still kept.

        A message is deleted once every enabled sink has it; a sink no longer named holds nothing back.
        """
        wanted = set(names)
        with self.db.write() as db:
            known = {row[0] for row in db.execute("SELECT name FROM sinks")}
            db.executemany("DELETE FROM sinks WHERE name = ?", [(name,) for name in known - wanted])
            db.executemany("INSERT INTO sinks (name) VALUES (?)", [(name,) for name in sorted(wanted - known)])
            _forget(db)

    def pending(self, limit: int, after_sequence: int = 0, *, sink: str) -> list[Message]:
        """At most ``limit`` messages that ``sink`` has not got, above ``after_sequence``, in order.

        Raises:
            SpoolError: ``spool.unknown-sink`` when it was not enabled.
        """
        from edgeai.api.specs import Message

        with self.db.read() as db:
            done_to = _done_to(db, sink)
            rows = db.execute(
                "SELECT key, channel, body, sequence FROM messages AS m WHERE sequence > ?"
                " AND NOT EXISTS (SELECT 1 FROM acks WHERE sink = ? AND acks.sequence = m.sequence)"
                " ORDER BY sequence LIMIT ?",
                (max(done_to, after_sequence), sink, limit),
            ).fetchall()
        return [Message(key=key, channel=channel, body=body, sequence=number) for key, channel, body, number in rows]

    def published(self, sink: str, sequences: Sequence[int]) -> None:
        """``sink`` has these messages, in whatever order its acknowledgements came.

        A message leaves the spool when every enabled sink has it. Losing this record (a power cut) only means
        that messages are offered again.
        """
        now = time.time()
        with self.db.write(durable=False) as db:
            done_to = _done_to(db, sink)
            for sequence in sequences:
                row = db.execute("SELECT channel, created_at FROM messages WHERE sequence = ?", (sequence,)).fetchone()
                if row is None or sequence <= done_to:
                    continue
                fresh = db.execute("INSERT OR IGNORE INTO acks (sink, sequence) VALUES (?, ?)", (sink, sequence))
                area, _, deployment = row[0].partition("/")
                if fresh.rowcount and area == "result":
                    add_duration(db, deployment, f"publish-{sink}", max(0.0, now - row[1]) * 1000.0)
            _advance(db, sink, done_to)
            _forget(db)


def _done_to(db: sqlite3.Connection, sink: str) -> int:
    row = db.execute("SELECT done_to FROM sinks WHERE name = ?", (sink,)).fetchone()
    if row is None:
        raise SpoolError(f"sink {sink!r} was not enabled", code="spool.unknown-sink")
    return int(row[0])


def _advance(db: sqlite3.Connection, sink: str, done_to: int) -> None:
    """Move the sink's mark over every message that it has, and drop the acknowledgements below it."""
    missing = db.execute(
        "SELECT MIN(sequence) FROM messages AS m WHERE sequence > ?"
        " AND NOT EXISTS (SELECT 1 FROM acks WHERE sink = ? AND acks.sequence = m.sequence)",
        (done_to, sink),
    ).fetchone()[0]
    if missing is None:
        mark = db.execute("SELECT MAX(?, COALESCE(MAX(sequence), 0)) FROM messages", (done_to,)).fetchone()[0]
    else:
        mark = missing - 1
    db.execute("UPDATE sinks SET done_to = ? WHERE name = ?", (mark, sink))
    db.execute("DELETE FROM acks WHERE sink = ? AND sequence <= ?", (sink, mark))


def _forget(db: sqlite3.Connection) -> None:
    # With no sink enabled the minimum is NULL and nothing is deleted: messages wait for a sink.
    db.execute("DELETE FROM messages WHERE sequence <= (SELECT MIN(done_to) FROM sinks)")
