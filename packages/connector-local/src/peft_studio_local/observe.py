"""What is true of a job now, told from its event log and its lock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psutil

from peft_studio.models import JobEvent, JobStatus
from peft_studio_worker.events import EventLog, EventTail
from peft_studio_worker.job_folder import JobFolder

#: Seconds between two looks at the log.
POLL = 0.05
#: Seconds of silence after which it is asked whether the job still lives.
SILENCE = 0.5

_ENDED = (JobStatus.PAUSED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


def settled_status(folder: JobFolder) -> JobStatus:
    """The job's status. A job whose processes are gone without a final word is failed, and its log says so."""
    status = _status(folder)
    if status in _ENDED:
        return status
    lock = folder.take_lock()
    if lock is None:
        return status
    try:
        status = _status(folder)
        return status if status in _ENDED else _write_state(folder, JobStatus.FAILED, _cause_of_death(folder))
    finally:
        os.close(lock)


def cancel_stopped(folder: JobFolder) -> bool:
    """Cancel a job that no process is working on; False when one is."""
    lock = folder.take_lock()
    if lock is None:
        return False
    try:
        if not _status(folder).is_terminal:
            _write_state(folder, JobStatus.CANCELLED, "asked to cancel")
        return True
    finally:
        os.close(lock)


async def follow(folder: JobFolder, after: int) -> AsyncIterator[JobEvent]:
    """Events after that sequence number as they come, until the job stops."""
    tail = EventTail(folder.events, after)
    silent = SILENCE  # ask at once: the job may have stopped long ago
    while True:
        events = tail.read()
        for event in events:
            yield event
        silent = 0.0 if events else silent + POLL
        if silent >= SILENCE or _says_ended(events):
            silent = 0.0
            if settled_status(folder) in _ENDED and not folder.is_alive():
                break
        await asyncio.sleep(POLL)
    for event in tail.read():
        yield event


def _says_ended(events: list[JobEvent]) -> bool:
    return bool(events) and events[-1].type == "state" and events[-1].data["status"] in _ENDED


def _status(folder: JobFolder) -> JobStatus:
    state = folder.last_state()
    return JobStatus.PENDING if state is None else JobStatus(state.data["status"])


def _write_state(folder: JobFolder, status: JobStatus, reason: str) -> JobStatus:
    before = folder.last_state()
    log = EventLog(folder.events)
    fields = {"status": status.value, "reason": reason, "resumable": status is JobStatus.FAILED}
    log.append("state", {**fields, "cost": None if before is None else before.data.get("cost")})
    log.close()
    return status


def _cause_of_death(folder: JobFolder) -> str:
    last = folder.events.stat().st_mtime if folder.events.exists() else folder.path.stat().st_mtime
    if psutil.boot_time() > last:
        restarted = datetime.fromtimestamp(psutil.boot_time(), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"the machine was restarted at {restarted} while the job was running"
    words = folder.supervisor_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = f"; its last words: {words[-1]}" if words else ""
    return f"the supervisor ended without a word (killed or crashed){said}"
