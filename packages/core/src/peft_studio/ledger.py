"""The ledger: every job, every intent to create something, and a copy of every event, in one SQLite file.

An intent is on disk before the platform is called, so that no crash can make us forget what may exist there. Many
processes may use one ledger at once (SQLite in WAL mode); every change is one transaction.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from peft_studio.errors import JobNotFound, PeftStudioError
from peft_studio.models import JobEvent, JobStatus
from peft_studio.paths import data_dir
from peft_studio.training_config import TrainingConfig

_SCHEMA_VERSION = 1
_SCHEMA = """
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
) WITHOUT ROWID;
"""


#: Reason of a pending job that waits in the offline queue: no platform has been asked for it.
QUEUED = "queued"

_SELECT_JOBS = """
SELECT id, connector, platform_id, status, reason, resumable, unreachable_since, created, base_model, cost, config
FROM jobs
"""


@frozen(kw_only=True)
class JobRecord:
    """What is known of a job without asking anybody."""

    id: str
    connector: str
    platform_id: str | None
    status: JobStatus
    reason: str | None
    is_resumable: bool
    #: Since when the platform could not be asked; None while it answers.
    unreachable_since: datetime | None
    created: datetime
    base_model: str
    #: US dollars so far.
    cost: Decimal | None
    config: dict[str, Any]

    @property
    def reachable(self) -> bool | None:
        """Whether the platform answered the last time; None for a job that need not be asked any more."""
        return None if self.status.is_terminal or self.is_queued else self.unreachable_since is None

    @property
    def is_queued(self) -> bool:
        """True while the submission waits in the offline queue."""
        return self.status is JobStatus.PENDING and self.reason == QUEUED


@frozen(kw_only=True)
class Intent:
    """Something that was about to be done on a platform."""

    job_id: str
    action: str
    written: datetime
    #: What the platform answered; None while nobody knows.
    outcome: str | None


class Ledger:
    """Opens, and makes where needed, the ledger at `path` (the user's own by default)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = data_dir() / "ledger.sqlite3" if path is None else path
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise PeftStudioError(
                f"the ledger {self.path} cannot be used", why=str(error), remedy="mend it or move it away"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Intents.

    def new_tag(self, config: TrainingConfig) -> str:
        """A fresh name for a submission: the project's, made fit for host names, and 50 random bits."""
        project = re.sub(r"[^a-z0-9]+", "-", (config.project_name or "job").lower()).strip("-")[:24] or "job"
        alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
        return f"ps-{project}-{''.join(secrets.choice(alphabet) for _ in range(10))}"

    def record_intent(self, tag: str, connector: str, config: TrainingConfig) -> None:
        """Write down a submission before the platform is called; a queued one leaves the queue by this."""
        with self._transaction() as db:
            left_queue = db.execute(
                "UPDATE jobs SET reason = NULL WHERE id = ? AND status = ? AND reason = ?",
                (tag, JobStatus.PENDING.value, QUEUED),
            ).rowcount
            if not left_queue:
                self._require_new(db, tag)
                self._add_job(db, tag, connector, config)
            db.execute("INSERT INTO intents (job_id, action, written) VALUES (?, 'submit', ?)", (tag, _now()))

    def record_submitted(self, tag: str, platform_id: str) -> None:
        """The platform took the job."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET platform_id = ? WHERE id = ?", (platform_id, tag))
            self._settle(db, tag, "submitted")

    def record_refused(self, tag: str, reason: str) -> None:
        """The platform refused the job: nothing exists there."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET status = ?, reason = ? WHERE id = ?", (JobStatus.FAILED.value, reason, tag))
            self._settle(db, tag, "refused")

    # Submissions that wait in the offline queue.

    def record_queued(self, tag: str, connector: str, config: TrainingConfig) -> None:
        """A submission waits in the queue. Does nothing when the job is known."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM jobs WHERE id = ?", (tag,)).fetchone() is None:
                self._add_job(db, tag, connector, config, QUEUED)

    def record_requeued(self, tag: str) -> bool:
        """The platform knows no such job, or refused it, so that nothing exists: it may be submitted again.

        False when the job has come to exist, or was cancelled, meanwhile.
        """
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE jobs SET status = ?, reason = ? WHERE id = ? AND platform_id IS NULL AND status IN (?, ?)",
                (JobStatus.PENDING.value, QUEUED, tag, JobStatus.PENDING.value, JobStatus.FAILED.value),
            ).rowcount
            if changed:
                self._settle(db, tag, "absent")
        return changed == 1

    def record_withdrawn(self, tag: str, status: JobStatus, reason: str) -> bool:
        """A submission leaves the queue without having been made; False when it is not waiting there any more."""
        changed = self._db.execute(
            "UPDATE jobs SET status = ?, reason = ? WHERE id = ? AND status = ? AND reason = ?",
            (status.value, reason, tag, JobStatus.PENDING.value, QUEUED),
        ).rowcount
        return changed == 1

    def open_intents(self) -> list[Intent]:
        """Intents of which nobody knows the outcome."""
        rows = self._db.execute(
            "SELECT job_id, action, written, outcome FROM intents WHERE outcome IS NULL ORDER BY number"
        )
        return [
            Intent(job_id=job, action=action, written=_time(written), outcome=outcome)
            for job, action, written, outcome in rows
        ]

    # Jobs.

    def job(self, id: str) -> JobRecord:
        """The job with that id, that platform id, or the only one whose id begins or ends so. Raises `JobNotFound`."""
        exact = self._jobs("WHERE id = ? OR platform_id = ?", (id, id))
        near = exact or self._jobs("WHERE instr(id, ?) = 1 OR substr(id, -length(?)) = ?", (id, id, id))
        if len(near) == 1:
            return near[0]
        if not near:
            raise JobNotFound(f"no job {id!r}", remedy="peft-studio jobs list")
        raise JobNotFound(f"{id!r} may be {len(near)} jobs: {', '.join(job.id for job in near[:5])}")

    def jobs(self) -> list[JobRecord]:
        """Every job, newest first."""
        return self._jobs("ORDER BY created DESC, rowid DESC", ())

    def record_reachable(self, id: str, status: JobStatus) -> None:
        """The platform answered, and this is the job's status."""
        self._db.execute("UPDATE jobs SET status = ?, unreachable_since = NULL WHERE id = ?", (status.value, id))

    def record_lost(self, id: str, reason: str) -> None:
        """The platform answered that it does not know the job: it is gone, and these are the words."""
        self._db.execute(
            "UPDATE jobs SET status = ?, reason = ?, resumable = 0, unreachable_since = NULL WHERE id = ?",
            (JobStatus.FAILED.value, reason, id),
        )

    def record_unreachable(self, id: str) -> None:
        """The platform could not be asked. The status stays what it was."""
        self._db.execute(
            "UPDATE jobs SET unreachable_since = coalesce(unreachable_since, ?) WHERE id = ?", (_now(), id)
        )

    # Events.

    def add_events(self, id: str, events: Iterable[JobEvent]) -> None:
        """Copy events; those that are there already are left alone. A state event also moves the job's record."""
        with self._transaction() as db:
            for event in events:
                row = (id, event.sequence, _stamp(event.time), event.type, json.dumps(dict(event.data)))
                is_new = db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)", row).rowcount == 1
                if is_new and event.type == "state":
                    self._apply_state(db, id, event)

    def events(self, id: str, after: int = 0) -> Iterator[JobEvent]:
        """The job's events after that sequence number, in order."""
        query = "SELECT sequence, time, type, data FROM events WHERE job_id = ? AND sequence > ? ORDER BY sequence"
        for sequence, time, kind, data in self._db.execute(query, (id, after)):
            yield JobEvent(sequence=sequence, time=_time(time), type=kind, data=json.loads(data))

    def last_sequence(self, id: str) -> int:
        """Number of the newest event that was copied, 0 for none."""
        row = self._db.execute("SELECT max(sequence) FROM events WHERE job_id = ?", (id,)).fetchone()
        return int(row[0] or 0)

    # Inside.

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == _SCHEMA_VERSION:
            return
        if version > _SCHEMA_VERSION:
            raise PeftStudioError(
                f"the ledger {self.path} was written by a newer peft-studio", remedy="upgrade peft-studio"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self.path.chmod(0o600)
        with self._transaction() as db:
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _require_new(self, db: sqlite3.Connection, tag: str) -> None:
        """A job that was cancelled while its submission was under way must not be submitted after all."""
        for (status,) in db.execute("SELECT status FROM jobs WHERE id = ?", (tag,)):
            raise PeftStudioError(f"job {tag} is {status} already", remedy=f"peft-studio jobs show {tag}")

    def _add_job(
        self, db: sqlite3.Connection, tag: str, connector: str, config: TrainingConfig, reason: str | None = None
    ) -> None:
        db.execute(
            "INSERT INTO jobs (id, connector, status, reason, created, base_model, config)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                tag, connector, JobStatus.PENDING.value, reason, _now(), config.base_model,
                json.dumps(config.to_dict()),
            ),
        )  # fmt: skip

    def _settle(self, db: sqlite3.Connection, tag: str, outcome: str) -> None:
        db.execute(
            "UPDATE intents SET outcome = ?, settled = ? WHERE job_id = ? AND outcome IS NULL", (outcome, _now(), tag)
        )

    def _apply_state(self, db: sqlite3.Connection, id: str, event: JobEvent) -> None:
        """A job's last state event decides; one that is overtaken by a later one changes nothing."""
        (newest,) = db.execute("SELECT max(sequence) FROM events WHERE job_id = ? AND type = 'state'", (id,)).fetchone()
        if newest != event.sequence:
            return
        data = event.data
        db.execute(
            "UPDATE jobs SET status = ?, reason = ?, resumable = ?, cost = coalesce(?, cost), unreachable_since = NULL"
            " WHERE id = ?",
            (data["status"], data.get("reason"), bool(data.get("resumable")), data.get("cost"), id),
        )

    def _jobs(self, clause: str, parameters: tuple[str, ...]) -> list[JobRecord]:
        with closing(self._db.execute(_SELECT_JOBS + clause, parameters)) as rows:
            return [_job_record(row) for row in rows]


def _job_record(row: tuple[Any, ...]) -> JobRecord:
    job_id, connector, platform_id, status, reason, resumable, unreachable, created, base_model, cost, config = row
    return JobRecord(
        id=job_id,
        connector=connector,
        platform_id=platform_id,
        status=JobStatus(status),
        reason=reason,
        is_resumable=bool(resumable),
        unreachable_since=None if unreachable is None else _time(unreachable),
        created=_time(created),
        base_model=base_model,
        cost=None if cost is None else Decimal(cost),
        config=json.loads(config),
    )


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)
