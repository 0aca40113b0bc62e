"""The tables of the ledger, as the steps that lead from each version to the next.

A new file takes all of them, so that an old one and a new one end alike.
"""

from __future__ import annotations

import sqlite3

_VERSION_1 = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    connector TEXT NOT NULL,
    platform_id TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    resumable INTEGER NOT NULL DEFAULT 0,
    unreachable_since TEXT,
    created TEXT NOT NULL,
    base_model TEXT NOT NULL,
    cost TEXT,
    config TEXT NOT NULL
);
CREATE INDEX jobs_created ON jobs (created);
CREATE TABLE intents (
    number INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    action TEXT NOT NULL,
    written TEXT NOT NULL,
    outcome TEXT,
    settled TEXT
);
CREATE TABLE events (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job_id, sequence)
) WITHOUT ROWID
"""

#: When a status began, what an hour costs, how long the job has run; which rental an intent is about; refused news.
_VERSION_2 = """
ALTER TABLE jobs ADD COLUMN changed TEXT;
ALTER TABLE jobs ADD COLUMN hourly_rate TEXT;
ALTER TABLE jobs ADD COLUMN currency TEXT;
ALTER TABLE jobs ADD COLUMN ran REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN running_since TEXT;
UPDATE jobs SET changed = created;
ALTER TABLE intents ADD COLUMN target TEXT;
ALTER TABLE intents ADD COLUMN reason TEXT;
ALTER TABLE intents ADD COLUMN tried TEXT;
CREATE INDEX intents_open ON intents (job_id) WHERE outcome IS NULL;
CREATE INDEX jobs_platform_id ON jobs (platform_id);
CREATE TABLE notes (
    number INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    written TEXT NOT NULL,
    text TEXT NOT NULL
)
"""

_STEPS = (_VERSION_1, _VERSION_2)
VERSION = len(_STEPS)


def version_of(db: sqlite3.Connection) -> int:
    """0 for a file without tables."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to `VERSION`, within the caller's transaction."""
    for step in _STEPS[version_of(db) :]:
        for statement in step.split(";"):
            db.execute(statement.strip())
    db.execute(f"PRAGMA user_version = {VERSION}")
