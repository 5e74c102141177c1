"""From schema 1, which edgeai 0.1 wrote, to the present one and back; each way is one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

from edgeai.api.errors import SpoolError
from edgeai.spool.schema import LEGACY_VERSION, SCHEMA_VERSION, TABLES
from edgeai.spool.station import is_held

_REBUILT: Final = ("instances", "jobs", "messages", "sinks", "acks", "quarantine")
_UNCHANGED: Final = ("TABLE faults (", "INDEX faults_by_plugin", "TABLE stage_", "TABLE counters (")
_LEGACY_INDEXES: Final = ("instances_by_age", "instances_by_file", "jobs_unfinished")

_FORWARD: Final = """
INSERT INTO instances (id, sop_instance_uid, ref, file, kept, source, received_at)
    SELECT i.id, i.sop_instance_uid, i.ref, i.file, i.file IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM jobs_1 WHERE instance = i.id AND state <> 'done'), i.source, i.received_at FROM instances_1 AS i;
INSERT INTO jobs (id, instance, deployment, state, owner, deaths, interruptions, code, reason, outcome, created_at,
        finished_at)
    SELECT j.id, j.instance, j.deployment, j.state, j.owner, j.attempts, j.interruptions, j.code, j.reason, j.outcome,
        i.received_at, j.finished_at FROM jobs_1 AS j JOIN instances_1 AS i ON i.id = j.instance;
INSERT INTO messages (sequence, key, channel, lane, body, created_at)
    SELECT sequence, key, channel, CASE WHEN channel LIKE 'result/%' THEN 'result' ELSE 'event' END, body, created_at
    FROM messages_1;
INSERT INTO sinks (name) SELECT name FROM sinks_1;
INSERT INTO pending (sink, lane, sequence)
    SELECT s.name, m.lane, m.sequence FROM sinks_1 AS s JOIN messages AS m ON m.sequence > s.done_to
    WHERE NOT EXISTS (SELECT 1 FROM acks_1 AS a WHERE a.sink = s.name AND a.sequence = m.sequence);
INSERT INTO quarantine (plugin, version, deployment, step, cause, since)
    SELECT plugin, version, deployment, step, cause, since FROM quarantine_1;
DELETE FROM counters WHERE name IN ('jobs_acknowledged', 'jobs_finished', 'messages_queued', 'messages_delivered',
    'messages_dropped');
INSERT INTO counters (name, labels, value)
    SELECT 'jobs_acknowledged', '{"deployment": ' || json_quote(deployment) || '}', COUNT(*) FROM jobs
    GROUP BY deployment;
INSERT INTO counters (name, labels, value)
    SELECT 'jobs_finished', '{"deployment": ' || json_quote(deployment) || '}', COUNT(*) FROM jobs WHERE state = 'done'
    GROUP BY deployment;
INSERT INTO counters (name, labels, value)
    SELECT 'messages_queued', '{"lane": ' || json_quote(lane) || ', "sink": ' || json_quote(sink) || '}', COUNT(*)
    FROM pending GROUP BY sink, lane
"""


def migrate(db: sqlite3.Connection, folder: Path) -> None:
    """Bring a spool of schema 1 to the present one; call inside a write transaction, with foreign keys off.

    Raises:
        SpoolError: ``spool.in-use``, an edgeai that knows only schema 1 is still running on it.
    """
    holders = sorted(note.stem for note in (folder / "roles").glob("*.note") if is_held(note))
    if holders:
        raise SpoolError(
            f"an older edgeai still runs on {folder}: {', '.join(holders)}",
            code="spool.in-use",
            remedy="stop it first; then this version takes over what it left",
        )
    ends = dict(db.execute("SELECT name, seq FROM sqlite_sequence"))
    for name in _LEGACY_INDEXES:
        db.execute(f"DROP INDEX IF EXISTS {name}")
    for name in _REBUILT:
        db.execute(f"ALTER TABLE {name} RENAME TO {name}_1")
    for statement in statements(TABLES):
        if not any(unchanged in statement for unchanged in _UNCHANGED):
            db.execute(statement)
    for statement in statements(_FORWARD):
        db.execute(statement)
    _measure_files(db, folder / "instances")
    for name in reversed(_REBUILT):
        db.execute(f"DROP TABLE {name}_1")
    for name in ("instances", "jobs", "messages"):  # numbers go on rising, also where every row is gone
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, ends.get(name, 0)))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")


def _measure_files(db: sqlite3.Connection, instances: Path) -> None:
    for identifier, name in db.execute("SELECT id, file FROM instances WHERE file IS NOT NULL").fetchall():
        try:
            size = (instances / str(name)).stat().st_size
        except OSError:
            continue  # recover() says what a missing file means
        db.execute("UPDATE instances SET bytes = ? WHERE id = ?", (size, identifier))


_LEGACY_TABLES: Final = """
CREATE TABLE instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sop_instance_uid TEXT NOT NULL UNIQUE,
    ref TEXT NOT NULL,
    file TEXT,
    source TEXT NOT NULL,
    received_at REAL NOT NULL
);
CREATE INDEX instances_by_age ON instances (received_at);
CREATE UNIQUE INDEX instances_by_file ON instances (file) WHERE file IS NOT NULL;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    deployment TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'condemned', 'done')),
    owner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    reason TEXT,
    outcome TEXT,
    finished_at REAL,
    UNIQUE (instance, deployment)
);
CREATE INDEX jobs_unfinished ON jobs (deployment, state, id) WHERE state <> 'done';
CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    channel TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE sinks (name TEXT PRIMARY KEY, done_to INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE acks (
    sink TEXT NOT NULL REFERENCES sinks (name) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (sink, sequence)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    deployment TEXT NOT NULL,
    step TEXT NOT NULL,
    cause TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (plugin, version, deployment)
) WITHOUT ROWID
"""

_NEWEST: Final = """
    SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY sop_instance_uid ORDER BY EXISTS
        (SELECT 1 FROM jobs_2 WHERE instance = i.id AND state <> 'done') DESC, received_at DESC, id DESC) AS place
        FROM instances_2 AS i) WHERE place = 1
"""

_BACKWARD: Final = f"""
INSERT INTO instances (id, sop_instance_uid, ref, file, source, received_at)
    SELECT id, sop_instance_uid, ref, file, source, received_at FROM instances_2 WHERE id IN ({_NEWEST});
INSERT INTO jobs (id, instance, deployment, state, owner, attempts, interruptions, code, reason, outcome, finished_at)
    SELECT id, instance, deployment, state, owner, deaths, interruptions, code, reason, outcome, finished_at FROM jobs_2
    WHERE instance IN (SELECT id FROM instances);
INSERT INTO messages (sequence, key, channel, body, created_at)
    SELECT m.sequence, CASE WHEN m.attempt = 1 THEN m.key ELSE m.key || '#' || m.attempt END, m.channel, m.body,
        m.created_at FROM messages_2 AS m;
INSERT INTO sinks (name, done_to) SELECT name, COALESCE((SELECT MAX(sequence) FROM messages_2), 0) FROM sinks_2;
UPDATE sinks SET done_to = COALESCE((SELECT MIN(sequence) - 1 FROM pending_2 WHERE sink = name), done_to);
INSERT INTO acks (sink, sequence)
    SELECT s.name, m.sequence FROM sinks AS s JOIN messages_2 AS m ON m.sequence > s.done_to
    WHERE NOT EXISTS (SELECT 1 FROM pending_2 AS p WHERE p.sink = s.name AND p.sequence = m.sequence);
INSERT INTO quarantine (plugin, version, deployment, step, cause, since)
    SELECT plugin, version, deployment, step, cause, since FROM quarantine_2
"""  # noqa: S608  # no value in it comes from outside


def obstacles(db: sqlite3.Connection, requiring: Collection[str] = ()) -> list[str]:
    """What schema 1 cannot hold, a sentence each; a spool is taken back only when there is nothing of that.

    Args:
        db: the spool.
        requiring: deployments that require another's finding: of theirs a job that nobody looked at yet waits too.
    """
    sentences = []
    held = db.execute(
        "SELECT COUNT(*) FROM jobs WHERE state <> 'done' AND deployment IN (SELECT deployment FROM holds)"
    ).fetchone()[0]
    if held:
        sentences.append(f"{held} jobs are held: edgeai 0.1 would fail them at once")
    twins = db.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM instances AS i JOIN jobs AS j ON j.instance = i.id WHERE j.state <> 'done'"
        " GROUP BY i.sop_instance_uid HAVING COUNT(DISTINCT i.id) > 1)"
    ).fetchone()[0]
    if twins:
        sentences.append(f"{twins} instances are waiting with two contents under one UID: edgeai 0.1 would keep one")
    awaiting = db.execute(
        "SELECT COUNT(*) FROM jobs WHERE state <> 'done' AND (required = 1 OR required = 0 AND deployment IN"
        " (SELECT value FROM json_each(?)))",
        (json.dumps(sorted(requiring)),),
    ).fetchone()[0]
    if awaiting:
        sentences.append(f"{awaiting} jobs wait for what another deployment says: edgeai 0.1 would run them without")
    aside = db.execute("SELECT COUNT(*) FROM set_aside").fetchone()[0]
    if aside:
        sentences.append(f"{aside} messages are set aside: edgeai 0.1 would take them for delivered")
    return sentences


def downgrade(db: sqlite3.Connection) -> None:
    """Back to schema 1; call inside a write transaction, with foreign keys off, when there are no ``obstacles``."""
    ends = dict(db.execute("SELECT name, seq FROM sqlite_sequence"))
    for (name,) in db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name <> 'faults_by_plugin'"
    ).fetchall():
        db.execute(f"DROP INDEX {name}")
    present = ("instances", "jobs", "holds", "messages", "sinks", "pending", "set_aside", "quarantine")
    for name in present:
        db.execute(f"ALTER TABLE {name} RENAME TO {name}_2")
    for statement in (*statements(_LEGACY_TABLES), *statements(_BACKWARD)):
        db.execute(statement)
    for name in reversed(present):
        db.execute(f"DROP TABLE {name}_2")
    for name in ("instances", "jobs", "messages"):
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, ends.get(name, 0)))
    db.execute(f"PRAGMA user_version = {LEGACY_VERSION:d}")


def statements(script: str) -> list[str]:
    """A script's statements: ``executescript`` would commit the transaction that is under way."""
    return [statement for statement in script.split(";") if statement.strip()]


__all__ = ["downgrade", "migrate", "obstacles", "statements"]
