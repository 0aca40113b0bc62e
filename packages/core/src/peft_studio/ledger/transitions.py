"""Which status may follow which: the one table, asked by everything that moves a job."""

from __future__ import annotations

from typing import Final

from peft_studio.models import JobStatus

_P, _R, _S = JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED
_DONE, _FAILED, _CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

#: We look now and then, so steps in between may have been missed: a job that was pending may be completed by now, and
#: one that was running may wait again, because platforms take machines away and queue the job anew.
LEGAL: Final = {
    _P: {_R, _S, _DONE, _FAILED, _CANCELLED},
    _R: {_P, _S, _DONE, _FAILED, _CANCELLED},
    _S: {_P, _R, _DONE, _FAILED, _CANCELLED},
    _DONE: set(),
    _FAILED: set(),
    _CANCELLED: set(),
}

#: Where a failed job may go that was, or may be, resumed.
RESUMED: Final = {_P, _R, _S, _DONE, _CANCELLED}


def is_legal(before: JobStatus, after: JobStatus, *, is_resumable: bool = False, is_made: bool = True) -> bool:
    """True when a job may be found in `after` that was last found in `before`.

    A failed job that no platform has (`is_made` False) may be submitted again.
    """
    if before is after or after in LEGAL[before]:
        return True
    if before is not _FAILED:
        return False
    return (is_resumable and after in RESUMED) or (not is_made and after is _P)
