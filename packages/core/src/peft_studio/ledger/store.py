"""The file itself: every change of it is one transaction, and many processes may use it at once (SQLite, WAL)."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from peft_studio._sqlite import use_write_ahead_log
from peft_studio.errors import JobNotFound, PeftStudioError
from peft_studio.ledger.deadlines import Overdue, overdue
from peft_studio.ledger.records import (
    QUEUED,
    SELECT_INTENTS,
    SELECT_JOBS,
    Intent,
    JobRecord,
    Note,
    intent,
    job_record,
    to_stamp,
    to_time,
)
from peft_studio.ledger.schema import VERSION, migrate, version_of
from peft_studio.ledger.transitions import is_legal
from peft_studio.models import JobEvent, JobStatus
from peft_studio.paths import data_dir
from peft_studio.training_config import TrainingConfig

#: Reason of a job whose submission was not answered and whose tag its platform does not know.
DENIED = "the platform knows no job with this tag"


class Ledger:
    """Opens, and makes where needed, the ledger at `path` (the user's own by default). `clock` tells the time, UTC."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], datetime] | None = None) -> None:
        self.path = data_dir() / "ledger.sqlite3" if path is None else path
        self.clock = clock or (lambda: datetime.now(UTC))
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

    # Submissions.

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
            self._begin(db, tag, "submit")

    def record_submitted(self, tag: str, platform_id: str) -> None:
        """The platform took the job, or was found to have it. A second job under one tag is noted, never adopted."""
        with self._transaction() as db:
            for known, status in db.execute("SELECT platform_id, status FROM jobs WHERE id = ?", (tag,)).fetchall():
                if known not in (None, platform_id):
                    self._note(db, tag, f"the platform has a second job with this tag: {platform_id}")
                    continue
                if known is None and status == JobStatus.FAILED:
                    self._move(db, tag, JobStatus.PENDING, self.clock(), reason=None)
                db.execute("UPDATE jobs SET platform_id = ? WHERE id = ?", (platform_id, tag))
            self._settle(db, tag, "submit", "submitted")

    def record_refused(self, tag: str, reason: str) -> None:
        """The platform refused the job: nothing exists there."""
        with self._transaction() as db:
            self._move(db, tag, JobStatus.FAILED, self.clock(), reason=reason)
            self._settle(db, tag, None, "refused")

    def record_denied(self, tag: str, written: datetime) -> bool:
        """The platform knows no job with this tag, long after the intent that was written then.

        False when the job has come to exist meanwhile, or is being submitted anew.
        """
        is_open = "SELECT 1 FROM intents WHERE job_id = ? AND action = 'submit' AND written = ? AND outcome IS NULL"
        with self._transaction() as db:
            if not self._is_unmade(db, tag) or db.execute(is_open, (tag, to_stamp(written))).fetchone() is None:
                return False
            self._move(db, tag, JobStatus.FAILED, self.clock(), reason=DENIED)
            self._settle(db, tag, None, "absent")
        return True

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
            changed = self._is_unmade(db, tag) and self._move(db, tag, JobStatus.PENDING, self.clock(), reason=QUEUED)
            if changed:
                self._settle(db, tag, "submit", "absent")
        return changed

    def record_withdrawn(self, tag: str, status: JobStatus, reason: str) -> bool:
        """A submission leaves the queue without having been made; False when it is not waiting there any more."""
        with self._transaction() as db:
            is_waiting = "SELECT 1 FROM jobs WHERE id = ? AND status = ? AND reason = ?"
            if db.execute(is_waiting, (tag, JobStatus.PENDING.value, QUEUED)).fetchone() is None:
                return False
            return self._move(db, tag, status, self.clock(), reason=reason)

    # Intents.

    def begin(self, id: str, action: str, *, target: str | None = None, reason: str | None = None) -> None:
        """Write down a pause, cancel or teardown before the platform is called; one that is open already goes on."""
        with self._transaction() as db:
            is_open = "SELECT 1 FROM intents WHERE job_id = ? AND action = ? AND target IS ? AND outcome IS NULL"
            if db.execute(is_open, (id, action, target)).fetchone() is None:
                self._begin(db, id, action, target, reason)

    def settle(self, id: str, action: str, outcome: str, *, target: str | None = None) -> None:
        """The platform's own word says how it ended."""
        with self._transaction() as db:
            self._settle(db, id, action, outcome, target)

    def record_tried(self, id: str, action: str) -> None:
        """An open intent was tried again."""
        self._db.execute(
            "UPDATE intents SET tried = ? WHERE job_id = ? AND action = ? AND outcome IS NULL",
            (self._now(), id, action),
        )

    def open_intents(self, action: str | None = None) -> list[Intent]:
        """Intents of which nobody knows the outcome, oldest first; only those of one kind, where `action` says so."""
        query = SELECT_INTENTS + "WHERE outcome IS NULL AND coalesce(?, action) = action ORDER BY number"
        return [intent(row) for row in self._db.execute(query, (action,))]

    def overdue(self) -> list[Overdue]:
        """Every phase that has taken longer than it may, with what to do about it."""
        clause = "WHERE status = 'pending' OR id IN (SELECT job_id FROM intents WHERE outcome IS NULL)"
        return list(overdue(self._jobs(clause, ()), self.open_intents(), self.clock()))

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

    def record_reachable(self, id: str, status: JobStatus) -> bool:
        """The platform answered, and this is the job's status; False when it cannot be, which is noted."""
        with self._transaction() as db:
            return self._move(db, id, status, self.clock())

    def record_lost(self, id: str, reason: str) -> bool:
        """The platform answered that it does not know the job: it is gone, and these are the words."""
        with self._transaction() as db:
            return self._move(db, id, JobStatus.FAILED, self.clock(), reason=reason, resumable=False)

    def record_resumed(self, id: str) -> None:
        """The platform agreed to let the job go on, so that a failed one may be found running."""
        self._db.execute("UPDATE jobs SET resumable = 1 WHERE id = ? AND status = ?", (id, JobStatus.FAILED.value))

    def record_unreachable(self, id: str) -> None:
        """The platform could not be asked. The status stays what it was."""
        self._db.execute(
            "UPDATE jobs SET unreachable_since = coalesce(unreachable_since, ?) WHERE id = ?", (self._now(), id)
        )

    def record_price(self, id: str, hourly_rate: Decimal, currency: str) -> None:
        """What an hour of the job's machine costs."""
        self._db.execute("UPDATE jobs SET hourly_rate = ?, currency = ? WHERE id = ?", (str(hourly_rate), currency, id))

    def record_cost(self, id: str, cost: Decimal) -> None:
        """What the job has cost in all, US dollars."""
        self._db.execute("UPDATE jobs SET cost = ? WHERE id = ?", (str(cost), id))

    def notes(self, id: str) -> list[Note]:
        """News of the job that were refused, oldest first."""
        rows = self._db.execute("SELECT written, text FROM notes WHERE job_id = ? ORDER BY number", (id,))
        return [Note(written=to_time(written), text=text) for written, text in rows]

    # Events.

    def add_events(self, id: str, events: Iterable[JobEvent]) -> None:
        """Copy events; those that are there already are left alone. A state event also moves the job's record."""
        with self._transaction() as db:
            for event in events:
                row = (id, event.sequence, to_stamp(event.time), event.type, json.dumps(dict(event.data)))
                is_new = db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)", row).rowcount == 1
                if is_new and event.type == "state":
                    self._apply_state(db, id, event)

    def events(self, id: str, after: int = 0) -> Iterator[JobEvent]:
        """The job's events after that sequence number, in order."""
        query = "SELECT sequence, time, type, data FROM events WHERE job_id = ? AND sequence > ? ORDER BY sequence"
        for sequence, time, kind, data in self._db.execute(query, (id, after)):
            yield JobEvent(sequence=sequence, time=to_time(time), type=kind, data=json.loads(data))

    def last_sequence(self, id: str) -> int:
        """Number of the newest event that was copied, 0 for none."""
        row = self._db.execute("SELECT max(sequence) FROM events WHERE job_id = ?", (id,)).fetchone()
        return int(row[0] or 0)

    # Inside.

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA synchronous = FULL")
        version = version_of(self._db)
        if version == VERSION:
            return
        if version > VERSION:
            raise PeftStudioError(
                f"the ledger {self.path} was written by a newer peft-studio", remedy="upgrade peft-studio"
            )
        use_write_ahead_log(self._db)
        self.path.chmod(0o600)
        with self._transaction() as db:
            migrate(db)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _now(self) -> str:
        return to_stamp(self.clock())

    def _require_new(self, db: sqlite3.Connection, tag: str) -> None:
        """A job that was cancelled while its submission was under way must not be submitted after all."""
        for (status,) in db.execute("SELECT status FROM jobs WHERE id = ?", (tag,)):
            raise PeftStudioError(f"job {tag} is {status} already", remedy=f"peft-studio jobs show {tag}")

    def _is_unmade(self, db: sqlite3.Connection, tag: str) -> bool:
        """True while no platform is known to have the job, and nobody has cancelled it."""
        query = "SELECT 1 FROM jobs WHERE id = ? AND platform_id IS NULL AND status IN (?, ?)"
        values = (tag, JobStatus.PENDING.value, JobStatus.FAILED.value)
        return db.execute(query, values).fetchone() is not None

    def _add_job(
        self, db: sqlite3.Connection, tag: str, connector: str, config: TrainingConfig, reason: str | None = None
    ) -> None:
        db.execute(
            "INSERT INTO jobs (id, connector, status, reason, created, changed, base_model, config)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                tag, connector, JobStatus.PENDING.value, reason, self._now(), self._now(), config.base_model,
                json.dumps(config.to_dict()),
            ),
        )  # fmt: skip

    def _begin(
        self, db: sqlite3.Connection, id: str, action: str, target: str | None = None, reason: str | None = None
    ) -> None:
        row = (id, action, self._now(), target, reason)
        db.execute("INSERT INTO intents (job_id, action, written, target, reason) VALUES (?, ?, ?, ?, ?)", row)

    def _settle(
        self, db: sqlite3.Connection, id: str, action: str | None, outcome: str, target: str | None = None
    ) -> None:
        """Close open intents of a job: those of one kind, or all of them."""
        db.execute(
            "UPDATE intents SET outcome = ?, settled = ? WHERE job_id = ? AND outcome IS NULL"
            " AND coalesce(?, action) = action AND coalesce(?, target) IS target",
            (outcome, self._now(), id, action, target),
        )

    def _apply_state(self, db: sqlite3.Connection, id: str, event: JobEvent) -> None:
        """A job's last state event decides; one that is overtaken by a later one changes nothing."""
        (newest,) = db.execute("SELECT max(sequence) FROM events WHERE job_id = ? AND type = 'state'", (id,)).fetchone()
        if newest != event.sequence:
            return
        data = event.data
        if data.get("status") not in list(JobStatus):
            self._note(db, id, f"event {event.sequence} says that the job is {data.get('status')!r}")
            return
        more = {"cost": data["cost"]} if data.get("cost") is not None else {}
        resumable = bool(data.get("resumable"))
        self._move(
            db, id, JobStatus(data["status"]), event.time, reason=data.get("reason"), resumable=resumable, **more
        )

    def _move(self, db: sqlite3.Connection, id: str, after: JobStatus, at: datetime, **fields: Any) -> bool:
        """Give the job that status and other fields, if it may have it; else note what was said and change nothing."""
        row = db.execute(
            "SELECT status, resumable, platform_id, ran, running_since FROM jobs WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            return False
        before, resumable, platform_id, ran, running_since = row
        if not is_legal(JobStatus(before), after, is_resumable=bool(resumable), is_made=platform_id is not None):
            reason = f": {fields['reason']}" if fields.get("reason") else ""
            self._note(db, id, f"a job that is {before} cannot be {after}, yet so it was told{reason}")
            return False
        values = {"status": after.value, "unreachable_since": None}
        if before != after:
            values |= {"reason": None, "changed": self._now(), **_running(after, at, ran, running_since)}
        values |= {name: value for name, value in fields.items() if before != after or value is not None}
        assignments = ", ".join(f"{name} = ?" for name in values)
        db.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*values.values(), id))  # noqa: S608 -- our own names
        if after.is_terminal:
            self._confirm_cancel(db, id)
        return True

    def _confirm_cancel(self, db: sqlite3.Connection, id: str) -> None:
        """A job that is over need not be stopped any more; if that is how it ended, the reason is the job's."""
        db.execute(
            "UPDATE jobs SET reason = coalesce(reason, (SELECT reason FROM intents WHERE job_id = jobs.id"
            " AND action = 'cancel' AND outcome IS NULL)) WHERE id = ? AND status = ?",
            (id, JobStatus.CANCELLED.value),
        )
        for action in ("cancel", "pause"):
            self._settle(db, id, action, "confirmed")

    def _note(self, db: sqlite3.Connection, id: str, text: str) -> None:
        """Keep what was refused; what is said again and again is kept once."""
        last = db.execute("SELECT text FROM notes WHERE job_id = ? ORDER BY number DESC LIMIT 1", (id,)).fetchone()
        if last != (text,):
            db.execute("INSERT INTO notes (job_id, written, text) VALUES (?, ?, ?)", (id, self._now(), text))

    def _jobs(self, clause: str, parameters: tuple[str, ...]) -> list[JobRecord]:
        with closing(self._db.execute(SELECT_JOBS + clause, parameters)) as rows:
            return [job_record(row) for row in rows]


def _running(after: JobStatus, at: datetime, ran: float, running_since: str | None) -> dict[str, Any]:
    """The stopwatch of a job that comes to `after` at a time: it goes while the job is running."""
    if running_since is not None:
        ran += max(0.0, (at - to_time(running_since)).total_seconds())
    return {"ran": ran, "running_since": to_stamp(at) if after is JobStatus.RUNNING else None}
