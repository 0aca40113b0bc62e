"""Brings one ledger and the accounts that it knows together, a platform at a time; all platforms at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from attrs import evolve

from peft_studio.errors import IncompleteList, PeftStudioError, PlatformError, UnsupportedCapability
from peft_studio.ledger import Intent, JobRecord, Ledger, NextAction
from peft_studio.location import UnknownOutcome
from peft_studio.models import Rental
from peft_studio.reconcile.account import Account, living
from peft_studio.reconcile.teardown import end, go_on_ending

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: How long after a submission a platform's "I know no such job" is believed: lists of platforms lag behind.
GRACE: Final = timedelta(seconds=60)


class Reconciler:
    """Reconciles the accounts that `manager` can reach with `ledger`, which is the manager's own."""

    def __init__(self, manager: ConnectorManager, ledger: Ledger) -> None:
        self._manager = manager
        self._ledger = ledger

    def known(self) -> list[str]:
        """Connectors that the ledger has jobs of, and those whose required credentials are all there."""
        used = {job.connector for job in self._ledger.jobs() if not job.is_queued}
        return sorted(used | set(self._manager.connectors_with_credentials()))

    async def reconcile(self, names: Iterable[str] | None = None) -> list[Account]:
        """Every account, in the order of the names; one that cannot be asked says why and holds up no other."""
        chosen = self.known() if names is None else list(names)
        return list(await asyncio.gather(*(self._account(name) for name in chosen)))

    async def destroy(self, account: Account) -> Account:
        """End what is orphaned, after saving what it holds; gone is what the platform's own list does not have."""
        ended = [await end(self._manager, self._ledger, each) for each in account.orphans]
        return evolve(await self._listed(account), ended=tuple(ended))

    async def settle(self, name: str) -> Account:
        """Bring what is open at one platform to its end, as far as that is possible now. Raises `PeftStudioError`."""
        await self._manager.connect(name)
        account = Account(connector=name)
        account = await self._settle_submissions(account)
        account = await self._settle_cancels(account)
        account = await self._settle_pauses(account)
        for intent in self._open(name, "teardown"):
            await go_on_ending(self._manager, self._ledger, intent)
        return account

    async def _account(self, name: str) -> Account:
        try:
            account = await self.settle(name)
            account = await self._refresh(account)
            return self._told(await self._listed(account))
        except PeftStudioError as error:
            return self._told(Account(connector=name, error=error))

    async def _settle_submissions(self, account: Account) -> Account:
        adopted, denied = [], []
        for intent in self._open(account.connector, "submit"):
            outcome = await self._settle_submission(intent)
            adopted += [intent.job_id] if outcome is True else []
            denied += [intent.job_id] if outcome is False else []
        return evolve(account, adopted=tuple(adopted), denied=tuple(denied))

    async def _settle_submission(self, intent: Intent) -> bool | None:
        """True when the job exists, False when it certainly does not, None while nobody can tell."""
        name = self._ledger.job(intent.job_id).connector
        asked = self._ledger.clock()
        self._ledger.record_tried(intent.job_id, "submit")
        try:
            found = await self._manager.find_job(name, intent.job_id)
        except UnsupportedCapability:
            return await self._adopt_listed(intent.job_id)
        if found is not None:
            self._ledger.record_submitted(intent.job_id, found)
            return True
        if asked - intent.written < GRACE or self._manager.is_buying(name):
            return None  # it may be under way at this moment
        return False if self._ledger.record_denied(intent.job_id, intent.written) else None

    async def _adopt_listed(self, id: str) -> bool | None:
        """What is alive may be listed where jobs cannot be found; that nothing is does not say that nothing was."""
        try:
            await self._manager.jobs.locate(id)
        except UnknownOutcome:
            return None
        return True

    async def _settle_cancels(self, account: Account) -> Account:
        stopped = []
        for intent in self._open(account.connector, "cancel"):
            self._ledger.record_tried(intent.job_id, "cancel")
            try:
                job = await self._manager.jobs.go_on_cancelling(intent.job_id)
            except PlatformError as error:
                account = _with(account, f"job {intent.job_id} goes on: {error}")
                continue
            stopped += [job.id] if job.status.is_terminal else []
        return evolve(account, stopped=tuple(stopped))

    async def _settle_pauses(self, account: Account) -> Account:
        """A machine whose job was to pause costs until it stands still."""
        for intent in self._open(account.connector, "pause"):
            self._ledger.record_tried(intent.job_id, "pause")
            try:
                await self._manager.jobs.go_on_pausing(intent.job_id)
            except PlatformError as error:
                account = _with(account, f"job {intent.job_id} is not paused: {error}")
        return account

    async def _refresh(self, account: Account) -> Account:
        """Ask for the jobs that go on, so that none is taken for alive that is over; budgets are kept here too."""
        for job in self._jobs(account.connector):
            if job.platform_id is None or job.status.is_terminal:
                continue
            try:
                await self._manager.jobs.keep_within_budget(job.id)
            except PlatformError as error:
                account = _with(account, f"job {job.id} is past its budget: {error}")
        return account

    async def _listed(self, account: Account) -> Account:
        unknown: IncompleteList | None = None
        try:
            rentals: Sequence[Rental] = await self._manager.list_rentals(account.connector)
        except UnsupportedCapability:
            return account
        except IncompleteList as error:
            rentals, unknown = error.found, error
        return evolve(account, living=tuple(living(rentals, self._jobs(account.connector))), error=unknown)

    def _told(self, account: Account) -> Account:
        """With a sentence for each phase that only the user can end."""
        late = [
            each
            for each in self._ledger.overdue()
            if each.job.connector == account.connector and each.action is NextAction.TELL
        ]
        told = [
            f"job {each.job.id} has been {each.phase} since {each.since:%Y-%m-%d %H:%M} UTC; look at the platform"
            for each in late
        ]
        return evolve(account, messages=(*account.messages, *told))

    def _open(self, name: str, action: str) -> list[Intent]:
        mine = {job.id for job in self._jobs(name)}
        return [intent for intent in self._ledger.open_intents(action) if intent.job_id in mine]

    def _jobs(self, name: str) -> list[JobRecord]:
        return [job for job in self._ledger.jobs() if job.connector == name]


def _with(account: Account, message: str) -> Account:
    return evolve(account, messages=(*account.messages, message))
