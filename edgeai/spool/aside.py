"""Messages that a sink refused for good: kept, bounded and said, so that they hold up nothing and are not forgotten."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeai.spool.counters import add_count
from edgeai.spool.queueing import forget_unwanted, queue_event
from edgeai.spool.store import Store

KIND = "message.set-aside"
"""The event that says so."""

SAY_EVERY_S = {"result": 10.0}
SAY_EVERY_ELSE_S = 600.0
"""So often at most an event about one (sink, lane, code): an event about a refused event would be refused as well."""

_FULL_AGE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One message that a sink will never take: its number, a stable code, and the same in one sentence."""

    sequence: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which messages are meant; an empty word means all."""

    sink: str = ""
    lane: str = ""
    key: str = ""
    code: str = ""

    @property
    def conditions(self) -> tuple[str, tuple[str, ...]]:
        """As the end of a WHERE, over ``s`` for the place in the row and ``m`` for the message."""
        columns = (("s.sink", self.sink), ("s.lane", self.lane), ("m.key", self.key), ("s.code", self.code))
        chosen = [(column, value) for column, value in columns if value]
        return "".join(f" AND {column} = ?" for column, _ in chosen), tuple(value for _, value in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """A message that a sink has not got.

    Attributes:
        code, reason: why the sink refused it; empty of one that only waits.
        created_at, at: when it was queued and when it was set aside, seconds since the epoch; ``at`` is None while it
            waits.
        size_bytes: of its body.
    """

    sink: str
    lane: str
    sequence: int
    key: str
    attempt: int
    channel: str
    created_at: float
    size_bytes: int
    code: str = ""
    reason: str = ""
    at: float | None = None


class SetAside(Store):
    """What publish puts there, and what ``edgeai messages`` does with it."""

    _full_at = -1e9
    _is_full = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._said: dict[tuple[str, str, str], tuple[float, int]] = {}

    def results_set_aside_full(self) -> bool:
        """Whether a sink has refused so many results that no more may be made. Cheap enough for each C-STORE."""
        now = time.monotonic()
        if now - self._full_at > _FULL_AGE_S:
            with self.db.read() as db:
                rows = db.execute("SELECT COUNT(*) FROM set_aside WHERE lane = 'result' GROUP BY sink").fetchall()
            self._is_full = max((int(row[0]) for row in rows), default=0) >= self.limits.max_set_aside
            self._full_at = now
        return self._is_full

    def set_aside(self, choice: Choice) -> list[Aside]:
        """What sinks have refused, oldest first."""
        return self._listed("set_aside", "s.code, s.reason, s.at", choice)

    def waiting(self, choice: Choice) -> list[Aside]:
        """What sinks have neither got nor refused, oldest first; a choice by code chooses none."""
        return [] if choice.code else self._listed("pending", "'', '', NULL", choice)

    def retry(self, choice: Choice) -> int:
        """Offer again what was set aside, in its old place in the row; how many that were."""
        with self.db.write() as db:
            rows = _chosen(db, choice)
            for sink, lane, sequence in rows:
                db.execute("DELETE FROM set_aside WHERE sink = ? AND sequence = ?", (sink, sequence))
                db.execute("INSERT INTO pending (sink, lane, sequence) VALUES (?, ?, ?)", (sink, lane, sequence))
        self._full_at = -1e9
        self.bells.ring("publish")
        return len(rows)

    def drop(self, choice: Choice) -> int:
        """Give up what was set aside: those sinks will not get it; how many that were."""
        with self.db.write() as db:
            rows = _chosen(db, choice)
            for sink, _, sequence in rows:
                db.execute("DELETE FROM set_aside WHERE sink = ? AND sequence = ?", (sink, sequence))
            for (sink, lane), count in Counter((sink, lane) for sink, lane, _ in rows).items():
                add_count(db, "messages_dropped", count, sink=sink, lane=lane)
                text = f"an operator gave up {count} {lane} message(s) that {sink} had refused"
                queue_event(self, db, "message.dropped", text, sink=sink, lane=lane, messages=count)
            forget_unwanted(db, [sequence for _, _, sequence in rows])
        self._full_at = -1e9
        self.bells.ring("publish")
        return len(rows)

    def put_aside(self, db: sqlite3.Connection, sink: str, refusals: Sequence[Refusal]) -> None:
        """In a transaction that is under way: off the row of ``sink``, kept, bounded and said."""
        for refusal in refusals:
            row = db.execute(
                "DELETE FROM pending WHERE sink = ? AND sequence = ? RETURNING lane", (sink, refusal.sequence)
            ).fetchone()
            if row is None:
                continue
            lane = str(row[0])
            kept = db.execute(
                "INSERT OR REPLACE INTO set_aside (sink, lane, sequence, code, reason, at)"
                " SELECT ?, ?, sequence, ?, ?, ? FROM messages WHERE sequence = ?",
                (sink, lane, refusal.code, refusal.reason[:1000], time.time(), refusal.sequence),
            )
            if not kept.rowcount:  # its message is gone from a damaged spool
                add_count(db, "messages_dropped", sink=sink, lane=lane)
                continue
            self._bound(db, sink, lane)
            self._say(db, sink, lane, refusal)

    def _bound(self, db: sqlite3.Connection, sink: str, lane: str) -> None:
        """Give up the oldest above the bound; results are never given up, ``check_room`` refuses images instead."""
        if lane == "result":
            return
        rows = db.execute(
            "DELETE FROM set_aside WHERE sink = ?1 AND lane = ?2 AND sequence IN (SELECT sequence FROM set_aside"
            " WHERE sink = ?1 AND lane = ?2 ORDER BY sequence DESC LIMIT -1 OFFSET ?3) RETURNING sequence",
            (sink, lane, self.limits.max_set_aside),
        ).fetchall()
        if rows:
            add_count(db, "messages_dropped", len(rows), sink=sink, lane=lane)
            forget_unwanted(db, [int(row[0]) for row in rows])

    def _say(self, db: sqlite3.Connection, sink: str, lane: str, refusal: Refusal) -> None:
        key, kind, channel = _about(db, refusal.sequence)
        if kind == KIND:  # of a refusal that was refused nothing more is said
            return
        is_selftest = channel.startswith("selftest/")  # it goes in the lane of events, and is none
        about = (sink, "selftest" if is_selftest else lane, refusal.code)
        now = time.monotonic()
        said_at, held_back = self._said.get(about, (-1e9, 0))
        if now - said_at < SAY_EVERY_S.get(lane, SAY_EVERY_ELSE_S):
            self._said[about] = (said_at, held_back + 1)
            return
        self._said[about] = (now, 0)
        what = "the end of a self-test" if is_selftest else "a message"
        text = f"{sink} refused {what} for good, which is set aside: {refusal.reason}"
        facts = {"sink": sink, "lane": lane, "code": refusal.code, "key": key, "held_back": held_back}
        facts |= {"channel": channel, "selftest": is_selftest}
        queue_event(self, db, KIND, text[:1000], **facts)

    def _listed(self, table: str, columns: str, choice: Choice) -> list[Aside]:
        where, values = choice.conditions
        with self.db.read() as db:
            rows = db.execute(
                "SELECT s.sink, s.lane, s.sequence, CAST(m.key AS BLOB), m.attempt, CAST(m.channel AS BLOB),"  # noqa: S608
                f" CAST(m.created_at AS REAL), COALESCE(LENGTH(CAST(m.body AS BLOB)), 0), {columns} FROM {table} AS s"
                f" JOIN messages AS m ON m.sequence = s.sequence WHERE 1{where} ORDER BY s.sequence, s.sink",
                values,
            ).fetchall()
        return [
            Aside(
                sink=sink,
                lane=lane,
                sequence=int(sequence),
                key=_text(key),
                attempt=attempt if isinstance(attempt, int) else 0,
                channel=_text(channel),
                created_at=float(created_at or 0.0),
                size_bytes=int(size),
                code=code,
                reason=reason,
                at=at,
            )
            for sink, lane, sequence, key, attempt, channel, created_at, size, code, reason, at in rows
        ]


def _chosen(db: sqlite3.Connection, choice: Choice) -> list[tuple[str, str, int]]:
    """(sink, lane, sequence) of what is set aside and meant."""
    where, values = choice.conditions
    return db.execute(
        "SELECT s.sink, s.lane, s.sequence FROM set_aside AS s JOIN messages AS m ON m.sequence = s.sequence"  # noqa: S608
        f" WHERE 1{where}",
        values,
    ).fetchall()


def _about(db: sqlite3.Connection, sequence: int) -> tuple[str, str, str]:
    """A message's key, of an event its kind, and its channel."""
    key, lane, channel, body = db.execute(
        "SELECT CAST(key AS BLOB), lane, CAST(channel AS BLOB), CAST(body AS BLOB) FROM messages WHERE sequence = ?",
        (sequence,),
    ).fetchone()
    try:
        kind = json.loads(body)["kind"] if lane == "event" else ""
    except (KeyError, TypeError, ValueError):
        kind = ""
    return _text(key), str(kind), _text(channel)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
