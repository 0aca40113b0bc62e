"""A job's append-only event log: one JSON object per line, numbered from 1 without gaps.

Everything a viewer shows is a fold over it. Only who holds the job's lock writes; anybody reads, and resumes after the
last sequence number it has. A line counts once its newline is there.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peft_studio.models import JobEvent

#: How long a full disk may last before the log gives up, seconds. Meanwhile the trainer waits on its pipe.
PATIENCE_WITH_FULL_DISK = 60.0


class EventLog:
    """The writing end. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._drop_torn_line()
        self.last_sequence = last_sequence(path)

    def append(self, kind: str, fields: Mapping[str, Any]) -> JobEvent:
        """Number the event, stamp it with the time (UTC) and write it."""
        with self._lock:
            event = JobEvent(sequence=self.last_sequence + 1, time=datetime.now(UTC), type=kind, data=dict(fields))
            self._write(to_line(event))
            self.last_sequence = event.sequence
        if kind == "state":
            os.fsync(self._file)
        return event

    def close(self) -> None:
        """Close the file. The log stays as it is."""
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._file).st_size
        deadline = time.monotonic() + PATIENCE_WITH_FULL_DISK
        while True:
            try:
                if os.write(self._file, line) == len(line):
                    return
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
            os.ftruncate(self._file, start)
            if time.monotonic() > deadline:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            time.sleep(0.5)

    def _drop_torn_line(self) -> None:
        """A writer that was killed in the middle of a line leaves half of one, which no reader has counted."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.ftruncate(self._file, whole)


def to_line(event: JobEvent) -> bytes:
    """The event as it stands in the log."""
    stamp = event.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {"sequence": event.sequence, "time": stamp, "type": event.type, **event.data}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def from_line(line: bytes) -> JobEvent:
    """The reverse of `to_line`. Raises `ValueError` on anything else."""
    record = json.loads(line)
    return JobEvent(
        sequence=record.pop("sequence"),
        time=datetime.fromisoformat(record.pop("time")),
        type=record.pop("type"),
        data=record,
    )


class EventTail:
    """The reading end: each `read` gives the events that came since the one before."""

    def __init__(self, path: Path, after: int = 0) -> None:
        self._path = path
        self._after = after
        self._offset = 0

    def read(self) -> list[JobEvent]:
        """New complete events, oldest first; none when the log does not exist yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        events = [from_line(line) for line in content[:whole].splitlines()]
        return [event for event in events if event.sequence > self._after]


def read_backwards(path: Path, block: int = 65536) -> Iterator[bytes]:
    """Complete lines of the log, newest first, without reading all of it."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            size = min(block, position)
            position -= size
            file.seek(position)
            lines = (file.read(size) + rest).split(b"\n")
            rest = lines[0]
            yield from (line for line in reversed(lines[1:]) if line)
        if rest:
            yield rest


def last_sequence(path: Path) -> int:
    """Number of the newest event, 0 for none."""
    for line in read_backwards(path):
        return from_line(line).sequence
    return 0


def last_event(path: Path, kind: str) -> JobEvent | None:
    """The newest event of one kind, or None."""
    if not path.exists():
        return None
    marker = f'"type":"{kind}"'.encode()
    for line in read_backwards(path):
        if marker in line:
            event = from_line(line)
            if event.type == kind:
                return event
    return None
