"""The publish side: messages in order, and a place in the row for each sink of its own."""

from __future__ import annotations

import bisect
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgeai.api.errors import SpoolError
from edgeai.spool.aside import Refusal, SetAside
from edgeai.spool.counters import BUCKETS_MS, add_count
from edgeai.spool.queueing import (
    EVENT_SCHEMA,
    LANES,
    UNWANTED,
    forget_unwanted,
    queue_event,
    queue_for,
    queue_message,
)

if TYPE_CHECKING:
    from edgeai.api.sinks import Message

__all__ = ["EVENT_SCHEMA", "LANES", "Outbox", "Refusal", "queue_event", "queue_message"]

_CHANNEL = re.compile(r"event|(?:result|selftest)/[a-z0-9][a-z0-9-]{0,62}")


class Outbox(SetAside):
    """What publish calls. Call ``enable_sinks`` once at start: it decides when a message may be forgotten."""

    def enable_sinks(self, names: Iterable[str]) -> None:
        """Say which sinks there are. One that is new starts with the oldest message still kept.

        A message is deleted once no sink waits for it; a sink no longer named holds nothing back, and what it has not
        got counts as dropped.
        """
        wanted = set(names)
        with self.db.write() as db:
            _forget_strays(db)
            known = {row[0] for row in db.execute("SELECT name FROM sinks")}
            for name in known - wanted:
                _forget_sink(db, name)
            for name in wanted - known:
                db.execute("INSERT INTO sinks (name) VALUES (?)", (name,))
                for sequence, lane in db.execute("SELECT sequence, CAST(lane AS BLOB) FROM messages ORDER BY sequence"):
                    queue_for(db, name, "result" if lane == b"result" else "event", sequence)
            for name in wanted & known:
                _put_strays_aside(self, db, name)
            if wanted:  # with no sink enabled messages wait for one
                db.execute(f"DELETE FROM messages WHERE {UNWANTED}")  # noqa: S608

    def pending(self, limit: int, after_sequence: int = 0, *, sink: str, lane: str = "") -> list[Message]:
        """At most ``limit`` messages that ``sink`` has not got, above ``after_sequence``, in order.

        A row that cannot be read is set aside (``spool.row-unreadable``) and holds up no other.

        Args:
            limit: how many at most.
            after_sequence: only messages with a higher number.
            sink: for whom.
            lane: ``result`` or ``event``; both when empty.

        Raises:
            SpoolError: ``spool.unknown-sink`` when it was not enabled.
        """
        while True:
            rows = self._rows(limit, after_sequence, sink, lane)
            messages: list[Message] = []
            unreadable: list[Refusal] = []
            for row in rows:
                try:
                    messages.append(_message(row))
                except (TypeError, ValueError) as error:
                    reason = f"a message of the spool cannot be read: {error}"
                    unreadable.append(Refusal(sequence=int(row[0]), code="spool.row-unreadable", reason=reason))
            if unreadable:
                self.settle(sink, (), unreadable)
            if messages or not rows:
                return messages

    def _rows(self, limit: int, after_sequence: int, sink: str, lane: str) -> list[tuple[Any, ...]]:
        with self.db.read() as db:
            _known_sink(db, sink)
            rows = [
                row
                for each in ((lane,) if lane else LANES)
                # As bytes: text that is not UTF-8 would fail the whole statement.
                for row in db.execute(
                    "SELECT p.sequence, CAST(m.key AS BLOB), m.attempt, CAST(m.channel AS BLOB), typeof(m.body),"
                    " CAST(m.body AS BLOB), CAST(m.lane AS BLOB) = CAST(p.lane AS BLOB) FROM pending AS p"
                    " LEFT JOIN messages AS m ON m.sequence = p.sequence"
                    " WHERE p.sink = ? AND p.lane = ? AND p.sequence > ? ORDER BY p.sequence LIMIT ?",
                    (sink, each, after_sequence, limit),
                )
            ]
        return sorted(rows, key=lambda row: int(row[0]))[:limit]

    def published(self, sink: str, sequences: Sequence[int]) -> None:
        """``sink`` has these messages, in whatever order its acknowledgements came."""
        self.settle(sink, sequences)

    def settle(self, sink: str, delivered: Sequence[int], refused: Sequence[Refusal] = ()) -> None:
        """What became of messages at ``sink``, in one transaction; those that are not named stay in the row.

        A message leaves the spool when no sink waits for it and none has refused it. Losing this record (a power cut)
        only means that messages are offered again.

        Args:
            sink: whose answers these are.
            delivered: sequence numbers of what it has.
            refused: what it will never take; set aside and said.
        """
        with self.db.write(durable=False) as db:
            _known_sink(db, sink)
            if delivered:
                _count_delivered(db, sink, _take_off(db, sink, delivered))
            if refused:
                self.put_aside(db, sink, refused)
            forget_unwanted(db, [*delivered, *(refusal.sequence for refusal in refused)])


def _forget_strays(db: sqlite3.Connection) -> None:
    """Rows that are nobody's: their sink has no name that there is, or they point at no message."""
    for name, is_text in db.execute("SELECT CAST(name AS BLOB), typeof(name) = 'text' FROM sinks").fetchall():
        if not is_text or name.decode("utf-8", "replace").encode() != name:
            db.execute("DELETE FROM sinks WHERE CAST(name AS BLOB) = ?", (name,))
    for table in ("pending", "set_aside"):
        db.execute(
            f"DELETE FROM {table} WHERE typeof(sequence) <> 'integer' OR sink NOT IN (SELECT name FROM sinks)"  # noqa: S608
        )


def _put_strays_aside(outbox: SetAside, db: sqlite3.Connection, sink: str) -> None:
    """What stands in no lane that there is would be offered to nobody."""
    rows = db.execute(
        "SELECT sequence FROM pending WHERE sink = ? AND CAST(lane AS BLOB) NOT IN (CAST(? AS BLOB), CAST(? AS BLOB))",
        (sink, *LANES),
    ).fetchall()
    for (sequence,) in rows:
        db.execute("UPDATE pending SET lane = 'event' WHERE sink = ? AND sequence = ?", (sink, sequence))
        reason = "a message of the spool stands in no lane that there is"
        outbox.put_aside(db, sink, [Refusal(sequence=sequence, code="spool.row-unreadable", reason=reason)])


def _forget_sink(db: sqlite3.Connection, name: str) -> None:
    for table in ("pending", "set_aside"):
        counted = db.execute(f"SELECT lane, COUNT(*) FROM {table} WHERE sink = ? GROUP BY lane", (name,))  # noqa: S608
        for lane, count in counted.fetchall():
            add_count(db, "messages_dropped", count, sink=name, lane=lane)
    db.execute("DELETE FROM sinks WHERE name = ?", (name,))


def _message(row: tuple[Any, ...]) -> Message:
    """The message of a row of ``_rows``; ValueError or TypeError where the row is damaged."""
    from edgeai.api.sinks import Message

    sequence, key, attempt, channel, kind, body, is_in_its_lane = row
    if kind != "blob":
        raise ValueError(f"its body is {kind if kind != 'null' else 'missing'}, not bytes")
    if not key or not channel:
        raise ValueError("it has no key" if not key else "it has no channel")
    name = channel.decode()
    if _CHANNEL.fullmatch(name) is None or not is_in_its_lane:
        raise ValueError("its channel is not one that there is")
    return Message(key=key.decode(), attempt=int(attempt), channel=name, body=body, sequence=int(sequence))


def _take_off(db: sqlite3.Connection, sink: str, sequences: Sequence[int]) -> list[tuple[str, int]]:
    """(lane, sequence) of those that were pending, each once; they are not any more."""
    return db.execute(
        "DELETE FROM pending WHERE sink = ? AND sequence IN (SELECT value FROM json_each(?)) RETURNING lane, sequence",
        (sink, json.dumps(list(sequences))),
    ).fetchall()


def _count_delivered(db: sqlite3.Connection, sink: str, taken: Sequence[tuple[str, int]]) -> None:
    now = time.time()
    for lane, count in Counter(lane for lane, _ in taken).items():
        add_count(db, "messages_delivered", count, sink=sink, lane=lane)
    durations: dict[str, list[float]] = {}
    for channel, created_at in db.execute(
        "SELECT CAST(channel AS BLOB), CAST(created_at AS REAL) FROM messages"
        " WHERE lane = 'result' AND sequence IN (SELECT value FROM json_each(?))",
        (json.dumps([number for _, number in taken]),),
    ):
        deployment = channel.decode(errors="replace").partition("/")[2]
        durations.setdefault(deployment, []).append(max(0.0, now - created_at) * 1000.0)
    for deployment, values in durations.items():
        _add_durations(db, deployment, f"publish-{sink}", values)


def _add_durations(db: sqlite3.Connection, deployment: str, stage: str, durations_ms: Sequence[float]) -> None:
    """As ``add_duration`` of each, in as many statements as there are buckets."""
    for bucket, count in Counter(bisect.bisect_left(BUCKETS_MS, each) for each in durations_ms).items():
        db.execute(
            "INSERT INTO stage_counts (deployment, stage, bucket, count) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (deployment, stage, bucket, count),
        )
    db.execute(
        "INSERT INTO stage_sums (deployment, stage, sum_ms) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET sum_ms = sum_ms + excluded.sum_ms",
        (deployment, stage, sum(durations_ms)),
    )


def _known_sink(db: sqlite3.Connection, sink: str) -> None:
    if db.execute("SELECT 1 FROM sinks WHERE name = ?", (sink,)).fetchone() is None:
        raise SpoolError(f"sink {sink!r} was not enabled", code="spool.unknown-sink")
