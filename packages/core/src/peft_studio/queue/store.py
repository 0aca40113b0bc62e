"""The queue's file: operations, who carries them out at the moment, and connectors that are left alone for a while.

Any number of processes may use it at once. Each change is one transaction, so that a process killed anywhere leaves
either all of it or nothing. The clock is handed in: nothing here waits.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
from attrs import frozen

from peft_studio._sqlite import use_write_ahead_log
from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio.paths import queue_file
from peft_studio.queue import _sql
from peft_studio.queue.operation import Again, Ask, Dead, Done, NewOperation, Operation, Outcome, State
from peft_studio.queue.secrets import Guard, environment_secrets

#: Seconds for which a claim holds without being renewed.
LEASE = 60.0
#: Seconds for which the key and the result of a finished stream are remembered.
MEMORY = 30 * 86400.0


class OperationNotFound(PeftStudioError, LookupError):
    """No operation has that number."""

    exit_code = 9


@frozen
class Pause:
    """A connector that could not be reached."""

    connector: str
    failures: int
    #: Seconds since the epoch.
    not_before: float
    reason: str


class Queue:
    """Opens, and makes where needed, the queue at `path` (the user's own by default).

    `clock` gives seconds since the epoch. `known_secrets` gives values that no payload may hold, beside those that this
    process uses; by default those in the environment variables that installed connectors name.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        lease: float = LEASE,
        known_secrets: Callable[[], Iterable[str]] = environment_secrets,
    ) -> None:
        self.path = queue_file() if path is None else path
        self.clock = clock
        self.lease = lease
        self._guard = Guard(known_secrets)
        try:
            self._create_file()
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise PeftStudioError(
                f"the queue {self.path} cannot be used", why=str(error), remedy="mend it or move it away"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Coming in.

    def enqueue(self, new: NewOperation) -> Operation:
        """Queue it durably, or return the operation that has its key already. Raises `InvalidConfig`."""
        return self.enqueue_all([new])[0]

    def enqueue_all(self, new: Iterable[NewOperation]) -> list[Operation]:
        """Queue several, in order, all of them or none."""
        prepared = [(each, self._payload(each)) for each in new]
        with self._transaction():
            return [self._insert(each, payload) for each, payload in prepared]

    # What is there.

    def operation(self, number: int) -> Operation:
        """The operation with that number. Raises `OperationNotFound`."""
        found = self._select("WHERE number = ?", number)
        if not found:
            raise OperationNotFound(f"there is no operation {number} in the queue", remedy="peft-studio queue list")
        return found[0]

    def find(self, connector: str, key: str) -> Operation | None:
        """The connector's operation with that key."""
        return next(iter(self._select("WHERE connector = ? AND key = ?", connector, key)), None)

    def last_of(self, connector: str, stream: str, kind: str) -> Operation | None:
        """The newest operation of that kind in a stream."""
        return next(iter(self._select(_sql.LAST, connector, stream, kind)), None)

    def operations(self, *states: State) -> list[Operation]:
        """Those in one of these states, or all, in order of arrival."""
        marks = _sql.marks(states)
        return self._select(f"WHERE state IN ({marks}) ORDER BY number" if states else "ORDER BY number", *states)

    def dead(self) -> list[Operation]:
        """Those that were given up, in order of arrival."""
        return self._select(_sql.DEAD)

    def due(self, kinds: Collection[str] | None = None) -> list[str]:
        """Connectors that have something to do now and are not left alone. Writes nothing and waits for nobody."""
        now = self.clock()
        rows = self._db.execute(_sql.DUE, {"now": now}).fetchall()
        return sorted({connector for connector, kind in rows if kinds is None or kind in kinds})

    def pauses(self) -> list[Pause]:
        """Connectors that could not be reached the last time."""
        rows = self._db.execute("SELECT name, failures, not_before, reason FROM connectors ORDER BY name")
        return [Pause(*row) for row in rows]

    # Going out.

    def claim(self, connector: str, kinds: Collection[str], only: int | None = None) -> Operation | None:
        """Take the next operation that may be done now, of these kinds; None when there is none."""
        with self._transaction():
            return self._claim(connector, kinds, only)

    def renew(self, operation: Operation) -> bool:
        """Hold it for another lease; False when it is somebody else's by now."""
        values = {"until": self.clock() + self.lease, **_claim_of(operation)}
        return self._db.execute(_sql.RENEW + _sql.IF_STILL_OURS, values).rowcount == 1

    def settle(self, operation: Operation, outcome: Outcome) -> bool:
        """Write down how an attempt ended; False, and nothing written, when it is somebody else's by now."""
        with self._transaction():
            return self._settle(operation, outcome)

    def settle_and_claim(self, operation: Operation, outcome: Outcome, kinds: Collection[str]) -> Operation | None:
        """Settle one and claim the connector's next in the same transaction: one write to the disk for both."""
        with self._transaction():
            self._settle(operation, outcome)
            return self._claim(operation.connector, kinds, None)

    def sweep(self) -> None:
        """Take back what is held by nobody any more, give up what has expired, forget what is long over."""
        with self._transaction():
            self._take_back()
            self._db.execute(_sql.FORGET, {"before": self.clock() - MEMORY})

    def pause(self, connector: str, delay_after: Callable[[int], float], reason: str) -> None:
        """Leave a connector alone for as long as `delay_after` its failures in a row says."""
        with self._transaction() as db:
            row = db.execute("SELECT failures FROM connectors WHERE name = ?", (connector,)).fetchone()
            failures = 1 if row is None else row[0] + 1
            values = (connector, failures, self.clock() + delay_after(failures), self._guard.masked(reason))
            db.execute("INSERT OR REPLACE INTO connectors VALUES (?, ?, ?, ?)", values)

    def unpause(self, connector: str) -> None:
        """The connector was reached."""
        self._db.execute("DELETE FROM connectors WHERE name = ?", (connector,))

    # What the user decides.

    def hurry(self, connectors: Collection[str] | None = None) -> None:
        """Let everything that waits for its next attempt be tried now."""
        with self._transaction() as db:
            for connector in self._connectors() if connectors is None else connectors:
                db.execute(_sql.HURRY, (self.clock(), connector))
                db.execute("DELETE FROM connectors WHERE name = ?", (connector,))

    def retry(self, number: int) -> Operation:
        """Try it again now, as if it had never failed; a dead one gets its whole lifetime anew."""
        with self._transaction() as db:
            operation = self._not_running(number)
            if operation.state not in (State.WAITING, State.DEAD):
                raise InvalidConfig(f"operation {number} cannot be retried: it is {operation.state}")
            db.execute(_sql.RETRY, {"now": self.clock(), "number": number})
            return self.operation(number)

    def confirm(self, number: int, accepts: Mapping[str, Any] | None = None) -> Operation:
        """Say yes to its question; with `accepts`, also to what it might ask later."""
        with self._transaction() as db:
            operation = self._not_running(number)
            if operation.state is not State.ASKING and (accepts is None or operation.state is not State.WAITING):
                raise InvalidConfig(f"operation {number} asks nothing: it is {operation.state}")
            (asked,) = db.execute("SELECT accepts FROM operations WHERE number = ?", (number,)).fetchone()
            payload = {**operation.payload, **json.loads(asked or "{}"), **(accepts or {})}
            db.execute(_sql.CONFIRM, (self.clock(), json.dumps(payload, ensure_ascii=False), number))
            return self.operation(number)

    def drop(self, number: int) -> Operation:
        """Forget it, key and all."""
        with self._transaction() as db:
            operation = self._not_running(number)
            db.execute("DELETE FROM operations WHERE number = ?", (number,))
            return operation

    # Inside.

    def _payload(self, new: NewOperation) -> str:
        try:
            payload = json.dumps(dict(new.payload), ensure_ascii=False)
            payload.encode()  # half of a surrogate pair is no text
        except (TypeError, ValueError) as error:
            raise InvalidConfig(f"a {new.kind} cannot be queued: its payload is no JSON", why=str(error)) from error
        self._guard.refuse(new, payload)
        return payload

    def _insert(self, new: NewOperation, payload: str) -> Operation:
        there = self.find(new.connector, new.key)
        if there is not None:
            if new.is_once or not there.state.is_over:
                return there
            self._db.execute("DELETE FROM operations WHERE number = ?", (there.number,))
        values = attrs.asdict(new, recurse=False) | {"payload": payload, "now": self.clock()}
        number = self._db.execute(_sql.INSERT, values).lastrowid
        assert number is not None
        return self.operation(number)

    def _claim(self, connector: str, kinds: Collection[str], only: int | None) -> Operation | None:
        self._take_back()
        now = self.clock()
        query = _sql.NEXT.format(kinds=_sql.marks(kinds))
        row = self._db.execute(query, (connector, now, only, only, *kinds)).fetchone()
        if row is None:
            return None
        self._db.execute(_sql.CLAIM, (now + self.lease, row[0]))
        return self.operation(row[0])

    def _take_back(self) -> None:
        now = self.clock()
        self._db.execute(_sql.TAKE_BACK, {"now": now, "lease": self.lease})
        self._db.execute(_sql.EXPIRE, {"now": now})

    def _settle(self, operation: Operation, outcome: Outcome) -> bool:
        values = self._written(outcome) | _claim_of(operation)
        return self._db.execute(_sql.SETTLE[type(outcome)] + _sql.IF_STILL_OURS, values).rowcount == 1

    def _written(self, outcome: Outcome) -> dict[str, Any]:
        now = self.clock()
        match outcome:
            case Done(result):
                return {"now": now, "result": json.dumps(result, default=str)}
            case Again(reason, delay, is_doubtful, is_fault):
                times = {"not_before": now + delay, "is_doubtful": is_doubtful, "is_fault": is_fault}
                return times | {"reason": self._guard.masked(reason)}
            case Ask(question, accepts):
                return {"question": question, "accepts": json.dumps(dict(accepts))}
            case Dead(reason):
                return {"now": now, "reason": self._guard.masked(reason)}

    def _not_running(self, number: int) -> Operation:
        self._take_back()
        operation = self.operation(number)
        if operation.state is State.RUNNING:
            raise InvalidConfig(f"operation {number} is being carried out now", remedy="wait for its outcome")
        return operation

    def _connectors(self) -> list[str]:
        rows = self._db.execute("SELECT connector FROM operations UNION SELECT name FROM connectors")
        return [connector for (connector,) in rows]

    def _select(self, clause: str, *parameters: Any) -> list[Operation]:
        return [_operation(row) for row in self._db.execute(_sql.SELECT + clause, parameters).fetchall()]

    def _create_file(self) -> None:
        """Nobody else may read it from the first moment on; what SQLite puts beside it has the same mode."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))

    def _prepare(self) -> None:
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == _sql.VERSION:
            return
        if version > _sql.VERSION:
            raise PeftStudioError(
                f"the queue {self.path} was written by a newer peft-studio", remedy="upgrade peft-studio"
            )
        use_write_ahead_log(self._db)
        with self._transaction() as db:
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in _sql.SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_sql.VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _claim_of(operation: Operation) -> dict[str, Any]:
    return {"number": operation.number, "attempts": operation.attempts}


def _operation(row: tuple[Any, ...]) -> Operation:
    values: Mapping[str, Any] = dict(zip(_sql.COLUMNS, row, strict=True))
    times = {name: _sql.time(values[name]) for name in ("created", "not_before", "expires", "finished")}
    flags = {name: bool(values[name]) for name in ("is_urgent", "is_doubtful")}
    content = {
        "payload": json.loads(values["payload"]),
        "result": None if values["result"] is None else json.loads(values["result"]),
        "state": State(values["state"]),
    }
    return Operation(**{**values, **times, **flags, **content})
