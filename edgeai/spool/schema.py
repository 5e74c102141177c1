"""The tables, and the version of them that a spool was made with.

``PRAGMA user_version`` holds ``major * 1000 + minor``; edgeai 0.1 wrote a plain 1. A minor only adds tables, indexes
and columns with defaults, so a reader of an older minor works on: statements name their columns, and values that
they do not know are left alone. A major needs a migration (``edgeai.spool.migration``).
"""

from __future__ import annotations

from typing import Final

MAJOR: Final = 2
MINOR: Final = 2
SCHEMA_VERSION: Final = MAJOR * 1000 + MINOR
LEGACY_VERSION: Final = 1
"""What edgeai 0.1 wrote."""

_SPENT: Final = "CREATE INDEX instances_spent ON instances (id) WHERE kept = 2;"

_REQUIRED: Final = "CREATE INDEX jobs_required ON jobs (deployment, required, id) WHERE state = 'waiting';"

MINOR_STEPS: Final[dict[int, str]] = {
    1: _SPENT,
    2: f"""
ALTER TABLE jobs ADD COLUMN required INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN stated TEXT;
{_REQUIRED}""",
}
"""Minor -> the statements that lead to it from the one before."""

TABLES: Final = f"""
CREATE TABLE instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sop_instance_uid TEXT NOT NULL,
    content TEXT NOT NULL DEFAULT '',   -- sha256:<hex> of transfer syntax and data set, empty for rows of edgeai 0.1
    identity TEXT NOT NULL DEFAULT '',  -- the content as result ids cover it, empty where an id of edgeai 0.1 is kept
    ref TEXT NOT NULL,                  -- InstanceRef as JSON
    file TEXT,                          -- name in instances/, NULL once nothing needs it
    bytes INTEGER NOT NULL DEFAULT 0,   -- size of the file
    kept INTEGER NOT NULL DEFAULT 0,    -- 1 while the file stays only so that a failed job can be done again,
                                        -- 2 while it stays only until the ends of its jobs are on disk
    source TEXT NOT NULL,
    received_at REAL NOT NULL,          -- seconds since the epoch, of the latest arrival
    UNIQUE (sop_instance_uid, content)
);
CREATE INDEX instances_by_age ON instances (received_at);
CREATE UNIQUE INDEX instances_by_file ON instances (file) WHERE file IS NOT NULL;
CREATE INDEX instances_kept ON instances (received_at, bytes) WHERE kept = 1;
{_SPENT}

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    deployment TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',      -- waiting, claimed, condemned, done
    owner TEXT,                         -- who claimed it, while claimed
    attempt INTEGER NOT NULL DEFAULT 1,         -- rises each time it is done again after it had failed
    deaths INTEGER NOT NULL DEFAULT 0,          -- that were the job's or the plugin's own doing, of this attempt
    interruptions INTEGER NOT NULL DEFAULT 0,   -- deaths that were not
    result_id TEXT,                     -- that its first end had: a further attempt keeps it
    code TEXT,                          -- why condemned, and the failure's code once done
    reason TEXT,
    outcome TEXT,
    created_at REAL NOT NULL DEFAULT 0, -- when this attempt was asked for
    finished_at REAL,
    required INTEGER NOT NULL DEFAULT 0,        -- of a deployment that requires another's finding: 0 not looked at yet,
                                        -- 1 until another job of the instance ends, 2 it may run
    stated TEXT,                        -- what it said of findings that others require, as JSON, once done
    UNIQUE (instance, deployment)
);
CREATE INDEX jobs_unfinished ON jobs (deployment, state, id) WHERE state <> 'done';
CREATE INDEX jobs_failed ON jobs (deployment, code, finished_at) WHERE state = 'done' AND outcome = 'failed';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE state = 'done';
{_REQUIRED}

CREATE TABLE holds (                    -- deployments that cannot run: their waiting jobs are held, not failed
    deployment TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    remedy TEXT NOT NULL DEFAULT '',
    since REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 1,
    channel TEXT NOT NULL,
    lane TEXT NOT NULL,                 -- result or event
    body BLOB NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (key, attempt)
);
CREATE TABLE sinks (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pending (                  -- a row for each message that a sink has not got
    sink TEXT NOT NULL REFERENCES sinks (name) ON DELETE CASCADE,
    lane TEXT NOT NULL,
    sequence INTEGER NOT NULL REFERENCES messages (sequence),
    PRIMARY KEY (sink, lane, sequence)
) WITHOUT ROWID;
CREATE INDEX pending_by_message ON pending (sequence);
CREATE TABLE set_aside (                -- messages that a sink refused for good
    sink TEXT NOT NULL REFERENCES sinks (name) ON DELETE CASCADE,
    lane TEXT NOT NULL,
    sequence INTEGER NOT NULL REFERENCES messages (sequence),
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (sink, lane, sequence)
) WITHOUT ROWID;
CREATE INDEX set_aside_by_message ON set_aside (sequence);

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
    trials INTEGER NOT NULL DEFAULT 0,          -- that failed since
    next_trial_at REAL NOT NULL DEFAULT 0,      -- seconds since the epoch
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
