"""A message joins the queue of every sink, in the transaction of whoever has something to say."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from datetime import UTC, datetime

from edgeai.spool.counters import add_count
from edgeai.spool.store import Store

EVENT_SCHEMA = 1
"""Number of the JSON form; ``edgeai/schemas/event-1.json`` describes it."""

LANES = ("result", "event")
"""Kinds of messages that do not wait for one another."""

UNWANTED = (
    "NOT EXISTS (SELECT 1 FROM pending WHERE pending.sequence = messages.sequence)"
    " AND NOT EXISTS (SELECT 1 FROM set_aside WHERE set_aside.sequence = messages.sequence)"
)
"""SQL: no sink waits for a row of ``messages``, and none has refused it."""

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
    for (sink,) in db.execute("SELECT name FROM sinks WHERE typeof(name) = 'text'").fetchall():
        queue_for(db, sink, lane, row[0])
    return True


def queue_for(db: sqlite3.Connection, sink: str, lane: str, sequence: int) -> None:
    """Add a message that is there already for one sink more."""
    db.execute("INSERT INTO pending (sink, lane, sequence) VALUES (?, ?, ?)", (sink, lane, sequence))
    add_count(db, "messages_queued", sink=sink, lane=lane)


def forget_unwanted(db: sqlite3.Connection, sequences: list[int]) -> None:
    """Delete those of these messages that no sink waits for and none has refused."""
    db.execute(
        f"DELETE FROM messages WHERE sequence IN (SELECT value FROM json_each(?)) AND {UNWANTED}",  # noqa: S608
        (json.dumps(sequences),),
    )
