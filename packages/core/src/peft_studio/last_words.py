"""The end of a job's log: it is copied when the job has stopped, or later, when it could not be copied then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from peft_studio.errors import JobNotFound, PeftStudioError
from peft_studio.ledger import JobRecord, Ledger

#: What copies the rest of a job's log, by the job's id.
Copy = Callable[[str], Awaitable[None]]
#: Seconds for what a job says last before it stands still.
PAUSED_SECONDS: Final = 3.0

_log = logging.getLogger(__name__)


async def copy_paused(job: JobRecord, copy: Copy) -> None:
    """As far as it goes in moments: the log of a paused job ends on some platforms, on others only with the job."""
    try:
        async with asyncio.timeout(PAUSED_SECONDS):
            await copy(job.id)
    except TimeoutError:
        _log.info("the log of job %s goes on while it is paused", job.id)


async def copy_rest(job: JobRecord, copy: Copy, ledger: Ledger) -> None:
    """Of a job that is over, where its platform could not be reached any more after it had said so."""
    if not job.status.is_terminal or job.unreachable_since is None:
        return
    try:
        await copy(job.id)
    except JobNotFound as error:  # it is gone, so this is all that will ever be known
        _log.warning("the log of job %s is not whole: %s", job.id, error)
    except PeftStudioError as error:
        _log.warning("the end of the log of job %s cannot be copied yet: %s", job.id, error)
        return
    ledger.record_reachable(job.id, job.status)
