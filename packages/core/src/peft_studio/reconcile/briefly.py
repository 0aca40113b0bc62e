"""A little reconciling by the way, in commands that are about something else: never longer than they can spare."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from peft_studio.errors import PeftStudioError
from peft_studio.ledger import Ledger, NextAction
from peft_studio.reconcile.reconciler import Reconciler

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Seconds.
TIME: Final = 0.5

#: What was tried this lately is left alone, so that a dead platform does not slow every command down.
PAUSE: Final = timedelta(seconds=60)

_log = logging.getLogger(__name__)


def waiting(ledger: Ledger) -> list[str]:
    """Connectors with something open that was not tried lately."""
    now = ledger.clock()
    lately = {intent.job_id for intent in ledger.open_intents() if now - (intent.tried or intent.written) < PAUSE}
    late = {each.job.id for each in ledger.overdue() if each.action is not NextAction.ASK}
    jobs = {job.id: job.connector for job in ledger.jobs()} if late - lately else {}
    return sorted({jobs[id] for id in late - lately})


async def reconcile_briefly(manager: ConnectorManager, ledger: Ledger, seconds: float = TIME) -> None:
    """Settle what is open, as far as that goes in so little time; what does not work now is left for `reconcile`."""
    names = waiting(ledger)
    if not names:
        return
    for intent in ledger.open_intents():  # before anything can hang: the next command does not try at once again
        ledger.record_tried(intent.job_id, intent.action)
    reconciler = Reconciler(manager, ledger)
    try:
        async with asyncio.timeout(seconds):
            answers = await asyncio.gather(*map(reconciler.settle, names), return_exceptions=True)
    except TimeoutError:
        _log.info("reconciling %s took longer than %g s", ", ".join(names), seconds)
        return
    for error in answers:
        if isinstance(error, PeftStudioError):
            _log.info("reconciling: %s", error)
        elif isinstance(error, BaseException):
            raise error
