"""The statements of the queue's file. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from peft_studio.queue.operation import Again, Ask, Dead, Done

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE operations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    connector TEXT NOT NULL,
    key TEXT NOT NULL,
    stream TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    is_urgent INTEGER NOT NULL,
    created REAL NOT NULL,
    not_before REAL NOT NULL,
    lifetime REAL,
    expires REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    is_doubtful INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    question TEXT,
    accepts TEXT,
    result TEXT,
    finished REAL,
    leased_until REAL,
    UNIQUE (connector, key)
);
CREATE INDEX operations_streams ON operations (connector, stream, number) WHERE finished IS NULL;
CREATE INDEX operations_waiting ON operations (connector, is_urgent DESC, number) WHERE state = 'waiting';
CREATE INDEX operations_running ON operations (leased_until) WHERE state = 'running';
CREATE INDEX operations_expiring ON operations (expires) WHERE finished IS NULL AND expires IS NOT NULL;
CREATE INDEX operations_finished ON operations (finished) WHERE finished IS NOT NULL;
CREATE INDEX operations_dead ON operations (number) WHERE state = 'dead';
CREATE TABLE connectors (
    name TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    not_before REAL NOT NULL,
    reason TEXT NOT NULL
)
"""

COLUMNS: Final = (
    "number", "kind", "connector", "key", "stream", "payload", "state", "is_urgent", "created", "not_before", "expires",
    "attempts", "failures", "is_doubtful", "reason", "question", "result", "finished",
)  # fmt: skip
SELECT: Final = " ".join(["SELECT", ", ".join(COLUMNS), "FROM operations "])

INSERT: Final = """
INSERT INTO operations (kind, connector, key, stream, payload, is_urgent, created, not_before, lifetime, expires)
VALUES (:kind, :connector, :key, :stream, :payload, :is_urgent, :now, :now, :lifetime, :now + :lifetime)
"""

#: The first that is due and has nothing unfinished before it in its stream.
NEXT: Final = """
SELECT number FROM operations AS this
WHERE connector = ? AND state = 'waiting' AND not_before <= ? AND (? IS NULL OR number = ?) AND kind IN ({kinds})
AND NOT EXISTS (
    SELECT 1 FROM operations AS earlier
    WHERE earlier.connector = this.connector AND earlier.stream = this.stream
    AND earlier.finished IS NULL AND earlier.number < this.number
)
ORDER BY is_urgent DESC, number LIMIT 1
"""
CLAIM: Final = """
UPDATE operations SET state = 'running', attempts = attempts + 1, leased_until = ? WHERE number = ?
"""

#: Each claim has a number of its own: that of the attempt.
IF_STILL_OURS: Final = " WHERE state = 'running' AND number = :number AND attempts = :attempts"
RENEW: Final = "UPDATE operations SET leased_until = :until"
SETTLE: Final = {
    Done: "UPDATE operations SET state = 'done', finished = :now, result = :result, payload = '{}', reason = NULL",
    Again: """
        UPDATE operations SET state = 'waiting', not_before = :not_before, reason = :reason,
        is_doubtful = is_doubtful OR :is_doubtful, failures = failures + :is_fault
    """,
    Ask: "UPDATE operations SET state = 'needs confirmation', question = :question, accepts = :accepts",
    Dead: "UPDATE operations SET state = 'dead', finished = :now, reason = :reason",
}

#: A lease that ends later than any can is from before the clock was set back.
TAKE_BACK: Final = """
UPDATE operations SET state = 'waiting', is_doubtful = 1
WHERE state = 'running' AND (leased_until < :now OR leased_until > :now + 10 * :lease)
"""
EXPIRE: Final = """
UPDATE operations
SET state = 'dead', finished = :now, reason = 'expired' || coalesce('; before that: ' || reason, '')
WHERE finished IS NULL AND expires IS NOT NULL AND expires <= :now AND state <> 'running'
"""
#: A stream is forgotten as a whole: the id of a run is the result of its first operation.
FORGET: Final = """
DELETE FROM operations AS old
WHERE finished < :before AND state = 'done' AND NOT EXISTS (
    SELECT 1 FROM operations AS other
    WHERE other.connector = old.connector AND other.stream = old.stream
    AND (other.finished IS NULL OR other.finished >= :before)
)
"""

DUE: Final = """
SELECT connector, kind FROM operations WHERE state = 'waiting' AND not_before <= :now
AND connector NOT IN (SELECT name FROM connectors WHERE not_before > :now)
UNION
SELECT connector, kind FROM operations WHERE state = 'running' AND leased_until < :now
AND connector NOT IN (SELECT name FROM connectors WHERE not_before > :now)
"""
LAST: Final = "WHERE connector = ? AND stream = ? AND kind = ? ORDER BY number DESC LIMIT 1"
DEAD: Final = "WHERE state = 'dead' ORDER BY number"

HURRY: Final = """
UPDATE operations SET not_before = ? WHERE connector = ? AND state = 'waiting'
"""
RETRY: Final = """
UPDATE operations SET state = 'waiting', not_before = :now, failures = 0, finished = NULL, expires = :now + lifetime
WHERE number = :number
"""
CONFIRM: Final = """
UPDATE operations
SET state = 'waiting', not_before = ?, payload = ?, question = NULL, accepts = NULL WHERE number = ?
"""


def marks(values: Collection[object]) -> str:
    """A question mark for each value."""
    return ", ".join("?" * len(values))


def time(seconds: float | None) -> Any:
    """A moment, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
