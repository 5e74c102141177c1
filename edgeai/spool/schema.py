"""The tables, and the version of them that a spool was made with."""

from __future__ import annotations

SCHEMA_VERSION = 1
"""Kept in ``PRAGMA user_version``; a spool of another number is refused, never guessed at."""

TABLES = """
CREATE TABLE instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sop_instance_uid TEXT NOT NULL UNIQUE,
    ref TEXT NOT NULL,                  -- InstanceRef as JSON
    file TEXT,                          -- name in instances/, NULL once nothing needs it
    source TEXT NOT NULL,
    received_at REAL NOT NULL           -- seconds since the epoch
);
CREATE INDEX instances_by_age ON instances (received_at);
CREATE UNIQUE INDEX instances_by_file ON instances (file) WHERE file IS NOT NULL;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    deployment TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'condemned', 'done')),
    owner TEXT,                         -- who claimed it, while claimed
    attempts INTEGER NOT NULL DEFAULT 0,        -- deaths that were the job's or the plugin's own doing
    interruptions INTEGER NOT NULL DEFAULT 0,   -- deaths that were not
    code TEXT,                          -- why condemned, and the failure's code once done
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
CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    done_to INTEGER NOT NULL DEFAULT 0  -- every message up to this one was delivered
) WITHOUT ROWID;
CREATE TABLE acks (                     -- deliveries ahead of done_to
    sink TEXT NOT NULL REFERENCES sinks (name) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (sink, sequence)
) WITHOUT ROWID;

CREATE TABLE faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    deployment TEXT NOT NULL,
    step TEXT NOT NULL,
    cause TEXT NOT NULL,
    job INTEGER
);
CREATE INDEX faults_by_plugin ON faults (plugin, version, deployment, step, at);
CREATE TABLE quarantine (
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    deployment TEXT NOT NULL,
    step TEXT NOT NULL,
    cause TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (plugin, version, deployment)
) WITHOUT ROWID;

CREATE TABLE stage_counts (
    deployment TEXT NOT NULL,
    stage TEXT NOT NULL,
    bucket INTEGER NOT NULL,            -- index into BUCKETS_MS, or its length for what is above
    count INTEGER NOT NULL,
    PRIMARY KEY (deployment, stage, bucket)
) WITHOUT ROWID;
CREATE TABLE stage_sums (
    deployment TEXT NOT NULL,
    stage TEXT NOT NULL,
    sum_ms REAL NOT NULL,
    PRIMARY KEY (deployment, stage)
) WITHOUT ROWID;
CREATE TABLE counters (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,               -- JSON object, keys sorted
    value INTEGER NOT NULL,
    PRIMARY KEY (name, labels)
) WITHOUT ROWID;
"""
