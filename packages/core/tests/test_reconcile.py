"""Reconciling with a platform of our own: what is adopted, denied, stopped, ended, and never touched."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    ConnectorManager,
    IncompleteList,
    JobNotFound,
    JobStatus,
    Ledger,
    PlatformError,
    PricingInfo,
    Rental,
    TrainingConfig,
    TrainingConnector,
    UnsupportedCapability,
)
from peft_studio.account_lock import AccountLock
from peft_studio.ledger.store import DENIED
from peft_studio.reconcile import Reconciler, Standing, reconcile_briefly

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")
KEY = {"api_key": "a-key-of-the-yard"}


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


class Yard(TrainingConnector):
    """A platform whose machines stand in a dictionary."""

    name, display_name, description, version = "yard", "Yard", "Machines in memory", "1.0"

    rentals: dict[str, Rental]
    statuses: dict[str, JobStatus]
    #: What was asked of it, in order.
    asked: list[str]
    is_down = False
    #: What is asked to end, stays.
    is_stubborn = False
    lines: tuple[str, ...] = ()

    async def connect(self, credentials):
        self._require_up()
        return True

    async def disconnect(self):
        return True

    async def submit_job(self, config):
        raise ConnectionFailed("the answer was lost")

    async def get_job_status(self, job_id):
        self._require_up()
        if job_id not in self.statuses:
            raise JobNotFound("no such job")
        return self.statuses[job_id]

    async def find_job(self, tag):
        self._require_up()
        return next((rental.id for rental in self.rentals.values() if rental.tag == tag), None)

    async def cancel_job(self, job_id):
        self._require_up()
        self.asked.append(f"cancel {job_id}")
        if not self.is_stubborn:
            self.statuses[job_id] = JobStatus.CANCELLED
            self.rentals.pop(job_id, None)
        return not self.is_stubborn

    async def stream_logs(self, job_id):
        self.asked.append(f"logs {job_id}")
        for line in self.lines:
            yield line

    async def download_artifact(self, job_id, destination):
        self.asked.append(f"artifact {job_id}")
        if job_id == "bare":
            raise ArtifactNotFound("nothing")
        destination.mkdir(parents=True)
        (destination / "adapter").write_text("weights")
        return destination

    async def list_resources(self):
        return []

    async def get_pricing(self, resource_id):
        return PricingInfo(hourly_rate="2")

    async def list_rentals(self):
        self._require_up()
        return list(self.rentals.values())

    async def end_rental(self, rental_id):
        self.asked.append(f"end {rental_id}")
        if not self.is_stubborn:
            self.rentals.pop(rental_id, None)
        return True

    def _require_up(self):
        if self.is_down:
            raise ConnectionFailed("no route to the yard")


class Blind(Yard):
    """It finds no jobs, and lists nothing."""

    async def find_job(self, tag):
        raise UnsupportedCapability("cannot look")

    async def list_rentals(self):
        raise UnsupportedCapability("cannot list")


class Split(Yard):
    """Its deployments are listed by a part of the platform that is away."""

    rents_machines = True
    #: What its own look at the machines says when one was ended.
    is_sure = True

    async def list_rentals(self):
        machines = [each for each in self.rentals.values() if each.kind != "deployment"]
        raise IncompleteList("the deployments could not be listed", found=machines)

    async def end_rental(self, rental_id):
        await super().end_rental(rental_id)
        return self.is_sure


class Unsure(Split):
    """It could not look either."""

    is_sure = False


class Listing(Yard):
    """It finds no jobs, and lists what is alive."""

    async def find_job(self, tag):
        raise UnsupportedCapability("cannot look")


class Guarded(Yard):
    """It wants a key, and notes whether somebody else could have bought during a submission."""

    was_free: bool | None = None

    def get_required_credentials(self):
        return ["api_key"]

    async def submit_job(self, config):
        lock = AccountLock("yard", KEY)
        Guarded.was_free = lock.try_acquire()
        lock.release()
        return "pod-1"


class Talking(Yard):
    """Its log ends when the job is cancelled."""

    def __init__(self):
        self.stopped = asyncio.Event()

    async def stream_logs(self, job_id):
        yield "step 1"
        await self.stopped.wait()

    async def cancel_job(self, job_id):
        self.stopped.set()
        return await super().cancel_job(job_id)


class Hanging(Yard):
    """It never says whether it knows a job."""

    async def find_job(self, tag):
        await asyncio.Event().wait()


@pytest.fixture
def clock():
    """A clock under control."""
    return Clock()


@pytest.fixture
def connector():
    """The platform; a test may name another."""
    return Yard


@pytest.fixture
async def setting(tmp_path, clock, connector, monkeypatch):
    """Manager, ledger and reconciler on a platform without machines."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    Yard.rentals, Yard.statuses, Yard.asked = {}, {}, []
    Yard.is_down = Yard.is_stubborn = False
    Yard.lines = ()
    with Ledger(tmp_path / "ledger.sqlite3", clock=clock) as ledger:
        manager = ConnectorManager(ledger=ledger, connectors=[connector], discover=False, credentials={"yard": KEY})
        async with manager:
            yield manager, ledger, Reconciler(manager, ledger)


def alive(id, tag=None, kind="machine", rate="1.5", currency="USD"):
    """Something that stands in the yard."""
    Yard.rentals[id] = Rental(
        id=id, name=tag or id, tag=tag, kind=kind, status="UP", hourly_rate=rate, currency=currency
    )


def job(ledger, tag, platform_id, status=JobStatus.RUNNING, config=CONFIG):
    """A job of the ledger, which the yard knows too."""
    ledger.record_intent(tag, "yard", config)
    ledger.record_submitted(tag, platform_id)
    ledger.record_reachable(tag, status)
    Yard.statuses[platform_id] = status
    return tag


async def account_of(reconciler):
    """The one account."""
    (account,) = await reconciler.reconcile(["yard"])
    return account


async def test_lost_submission_is_adopted(setting):
    """A submission whose answer was lost is found by its tag, and is a job like any other."""
    manager, ledger, reconciler = setting
    await manager.connect("yard")
    with pytest.raises(ConnectionFailed):
        await manager.submit_job("yard", CONFIG, tag="ps-job-a")
    alive("pod-1", "ps-job-a", kind="job")
    Yard.statuses["pod-1"] = JobStatus.RUNNING
    account = await account_of(reconciler)

    assert ("ps-job-a",) == account.adopted
    assert ("pod-1", JobStatus.RUNNING) == (ledger.job("ps-job-a").platform_id, ledger.job("ps-job-a").status)
    assert [Standing.RUNNING] == [each.standing for each in account.living]
    assert [] == ledger.open_intents()


async def test_denied_submission_fails_after_the_grace(setting, clock):
    """A tag that the platform does not know is waited for, then the job is failed, in words that say why."""
    _, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    clock.now += timedelta(seconds=59)
    assert () == (await account_of(reconciler)).denied
    assert JobStatus.PENDING is ledger.job("ps-job-a").status
    clock.now += timedelta(seconds=1)

    assert ("ps-job-a",) == (await account_of(reconciler)).denied
    assert (JobStatus.FAILED, DENIED) == (ledger.job("ps-job-a").status, ledger.job("ps-job-a").reason)


async def test_platform_that_is_down_denies_nothing(setting, clock):
    """Not being able to ask settles nothing, however long it takes; the account says why."""
    _, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    job(ledger, "ps-job-b", "pod-2")
    Yard.is_down = True
    clock.now += timedelta(days=1)
    account = await account_of(reconciler)

    assert "no route to the yard" in str(account.error)
    assert [JobStatus.RUNNING, JobStatus.PENDING] == [each.status for each in ledger.jobs()]
    assert ["submit"] == [intent.action for intent in ledger.open_intents()]


@pytest.mark.parametrize("connector", [Blind])
async def test_platform_that_cannot_tell_denies_nothing(setting, clock):
    """A connector that neither finds nor lists leaves the submission open, and the user is told after a day."""
    _, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    clock.now += timedelta(hours=1)
    first = await account_of(reconciler)
    clock.now += timedelta(hours=23)
    second = await account_of(reconciler)

    assert JobStatus.PENDING is ledger.job("ps-job-a").status
    assert (None, ()) == (first.living, first.messages)
    assert ["job ps-job-a has been submitting since 2026-11-01 00:00 UTC; look at the platform"] == list(
        second.messages
    )


async def test_three_standings(setting):
    """Ours and going on, ours and over, not ours: by tag or by id, whatever the name."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1")
    job(ledger, "ps-job-b", "pod-2", JobStatus.COMPLETED)
    alive("pod-1", "ps-job-a")
    alive("disk-1", "ps-job-a", kind="storage", rate=None)
    alive("pod-2")
    alive("pod-3", "ps-somebody-else", rate="10", currency="EUR")
    account = await account_of(reconciler)

    expected = {"pod-1": "running", "disk-1": "running", "pod-2": "orphaned", "pod-3": "foreign"}
    assert expected == {each.rental.id: str(each.standing) for each in account.living}
    assert {"USD": Decimal("72.0"), "EUR": Decimal(240)} == account.daily_costs


async def test_second_job_of_one_submission_is_an_orphan(setting):
    """A twin under the same tag serves nobody; the first one goes on."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "j-1")
    alive("j-1", "ps-job-a", kind="job")
    alive("j-2", "ps-job-a", kind="job")
    account = await reconciler.destroy(await account_of(reconciler))

    assert ["j-2"] == [each.rental_id for each in account.ended]
    assert ["j-1"] == list(Yard.rentals)
    assert ["end j-2"] == Yard.asked, "the log and the adapter of another job are not saved for it"


async def test_destroy_ends_orphans_only(setting):
    """What is ours and over is ended, after its log and adapter are home; all else stays."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1", JobStatus.COMPLETED)
    job(ledger, "ps-job-b", "pod-2")
    for id, tag in (("pod-1", "ps-job-a"), ("pod-2", "ps-job-b"), ("pod-3", "ps-foreign")):
        alive(id, tag)
    Yard.lines = ("the last word",)
    account = await reconciler.destroy(await account_of(reconciler))

    assert ["pod-2", "pod-3"] == sorted(Yard.rentals)
    assert ["logs pod-1", "artifact pod-1", "end pod-1"] == Yard.asked[-3:]
    (ended,) = account.ended
    assert (True, "weights") == (ended.is_gone, (ended.saved / "adapter").read_text())
    assert "the last word" == next(ledger.events("ps-job-a")).data["message"]
    assert [] == ledger.open_intents()


@pytest.mark.parametrize("connector", [Split])
async def test_a_part_that_is_away_holds_up_no_other(setting):
    """What the other parts list is told, and ended when it is orphaned; that there may be more is told too."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1", JobStatus.COMPLETED)
    alive("pod-1", "ps-job-a")
    alive("serving", kind="deployment")
    account = await account_of(reconciler)
    assert ["pod-1"] == [each.rental.id for each in account.living]
    assert isinstance(account.error, IncompleteList)
    account = await reconciler.destroy(account)

    assert [True] == [each.is_gone for each in account.ended]
    assert ((), []) == (account.living, ledger.open_intents())
    assert isinstance(account.error, IncompleteList), "that nothing else lives there is not known"


@pytest.mark.parametrize(("connector", "is_stubborn"), [(Unsure, False), (Split, True)])
async def test_gone_needs_more_than_a_part_of_the_list(setting, is_stubborn):
    """The connector has looked itself, and the part that is there does not have it."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1", JobStatus.COMPLETED)
    alive("pod-1", "ps-job-a")
    Yard.is_stubborn = is_stubborn
    account = await reconciler.destroy(await account_of(reconciler))

    assert [False] == [each.is_gone for each in account.ended]
    assert ["teardown"] == [intent.action for intent in ledger.open_intents()]


@pytest.mark.parametrize("connector", [Split])
async def test_a_machine_that_may_be_in_the_other_part_is_not_gone(setting):
    """A job is not finished as if nothing had been rented for it."""
    manager, ledger, _ = setting
    job(ledger, "ps-job-a", "serving", JobStatus.CANCELLED)
    job(ledger, "ps-job-b", "pod-1", JobStatus.CANCELLED)
    alive("serving", "ps-job-a", kind="deployment")
    alive("pod-1", "ps-job-b")
    with pytest.raises(IncompleteList):
        await manager.jobs.finish("ps-job-a")
    del Yard.statuses["serving"]
    assert [] == await manager.jobs.finish("ps-job-a"), "asked for it alone, the platform says that it is gone"

    assert [True] == [each.is_gone for each in await manager.jobs.finish("ps-job-b")]
    assert ["serving"] == list(Yard.rentals)


async def test_gone_is_what_the_list_does_not_have(setting):
    """A platform that agrees and keeps it is asked again by the next reconcile."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "bare", JobStatus.COMPLETED)
    alive("bare", "ps-job-a")
    Yard.is_stubborn = True
    account = await reconciler.destroy(await account_of(reconciler))
    assert [False] == [each.is_gone for each in account.ended]
    assert [("teardown", "bare")] == [(intent.action, intent.target) for intent in ledger.open_intents()]
    Yard.is_stubborn = False
    account = await account_of(reconciler)

    assert ((), []) == (account.living, ledger.open_intents())


async def test_open_cancel_is_tried_again(setting):
    """A cancel that could not be asked for is carried out later, and settled by the platform's own status."""
    manager, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1")
    Yard.is_down = True
    with pytest.raises(ConnectionFailed):
        await manager.jobs.cancel("ps-job-a")
    assert ledger.job("ps-job-a").cancelling_since is not None
    Yard.is_down, Yard.is_stubborn = False, True
    assert () == (await account_of(reconciler)).stopped
    Yard.is_stubborn = False

    assert ("ps-job-a",) == (await account_of(reconciler)).stopped
    assert (JobStatus.CANCELLED, None) == (ledger.job("ps-job-a").status, ledger.job("ps-job-a").cancelling_since)


async def test_cancel_of_a_lost_submission_follows_its_adoption(setting):
    """Who cancels a job of which nobody knows whether it exists gets it cancelled when it turns out that it does."""
    manager, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    with pytest.raises(PlatformError, match="it is not known whether job ps-job-a reached yard"):
        await manager.jobs.cancel("ps-job-a")
    alive("pod-1", "ps-job-a", kind="job")
    Yard.statuses["pod-1"] = JobStatus.RUNNING
    account = await account_of(reconciler)

    assert (("ps-job-a",), ("ps-job-a",), {}) == (account.adopted, account.stopped, Yard.rentals)


async def test_budget_is_kept(setting, clock):
    """A job that has cost too much, and whose worker did not stop it, is cancelled with that reason."""
    _, ledger, reconciler = setting
    config = TrainingConfig(base_model="model", dataset_path="d", resource_id="big", max_cost=Decimal(4))
    job(ledger, "ps-job-a", "pod-1", config=config)
    await account_of(reconciler)
    clock.now += timedelta(hours=2, seconds=59)
    await account_of(reconciler)
    assert (JobStatus.RUNNING, Decimal(2)) == (ledger.job("ps-job-a").status, ledger.job("ps-job-a").hourly_rate)
    clock.now += timedelta(seconds=1)
    await account_of(reconciler)

    assert JobStatus.CANCELLED is ledger.job("ps-job-a").status
    assert "it has cost $4.03; max_cost is $4.00" == ledger.job("ps-job-a").reason


async def test_other_currencies_are_not_dollars(setting, clock):
    """A limit in dollars says nothing about a price in another currency."""
    _, ledger, reconciler = setting
    config = TrainingConfig(base_model="model", dataset_path="d", max_cost=Decimal(4))
    job(ledger, "ps-job-a", "pod-1", config=config)
    ledger.record_price("ps-job-a", Decimal(100), "JPY")
    clock.now += timedelta(hours=2)
    await account_of(reconciler)

    assert JobStatus.RUNNING is ledger.job("ps-job-a").status


@pytest.mark.parametrize("connector", [Talking])
async def test_budget_is_kept_while_followed(setting, clock):
    """Whoever follows a job that runs too long sees it cancelled."""
    manager, ledger, _ = setting
    config = TrainingConfig(base_model="model", dataset_path="d", max_duration=3600.0)
    job(ledger, "ps-job-a", "pod-1", config=config)
    clock.now += timedelta(seconds=3660)
    events = [event.type async for event in manager.jobs.follow("ps-job-a")]

    assert ["log", "state"] == events
    assert "it ran for 1h01m; max_duration is 1h00m" == ledger.job("ps-job-a").reason


async def test_job_without_limits_is_left_alone(setting, clock):
    """Nothing that is not known is taken for too much."""
    _, ledger, reconciler = setting
    job(ledger, "ps-job-a", "pod-1")
    clock.now += timedelta(days=365)
    await account_of(reconciler)

    assert JobStatus.RUNNING is ledger.job("ps-job-a").status


async def test_briefly_settles_what_is_overdue(setting, clock):
    """Commands about jobs look for lost submissions by the way, once in a while."""
    manager, ledger, _ = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    await reconcile_briefly(manager, ledger)
    assert not manager.is_connected("yard"), "nothing is overdue yet"
    clock.now += timedelta(minutes=2)
    Yard.is_down = True
    await reconcile_briefly(manager, ledger)
    Yard.is_down = False
    await reconcile_briefly(manager, ledger)
    assert not manager.is_connected("yard"), "it was tried just now"
    clock.now += timedelta(seconds=60)
    await reconcile_briefly(manager, ledger)

    assert DENIED == ledger.job("ps-job-a").reason


@pytest.mark.parametrize("connector", [Hanging])
async def test_briefly_is_brief(setting, clock):
    """A platform that hangs costs a command no more than it can spare."""
    manager, ledger, _ = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    clock.now += timedelta(hours=1)

    await asyncio.wait_for(reconcile_briefly(manager, ledger, 0.05), 30)

    assert JobStatus.PENDING is ledger.job("ps-job-a").status


@pytest.mark.parametrize("connector", [Listing])
async def test_what_is_listed_is_adopted(setting, clock):
    """Where jobs cannot be found by their tag the list of what is alive tells; that it lacks one denies nothing."""
    _, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    ledger.record_intent("ps-job-b", "yard", CONFIG)
    alive("j-1", "ps-job-a", kind="job")
    alive("disk-2", "ps-job-b", kind="storage")
    Yard.statuses["j-1"] = JobStatus.RUNNING
    clock.now += timedelta(hours=1)
    account = await account_of(reconciler)

    assert (("ps-job-a",), ()) == (account.adopted, account.denied)
    assert ("j-1", None) == (ledger.job("ps-job-a").platform_id, ledger.job("ps-job-b").platform_id)


@pytest.mark.parametrize("connector", [Guarded])
async def test_nobody_else_buys_meanwhile(setting):
    """A submission holds the account's lock, and lets go of it."""
    manager, _, _ = setting
    await manager.connect("yard")
    await manager.submit_job("yard", CONFIG)

    assert False is Guarded.was_free
    assert not manager.is_buying("yard")


@pytest.mark.parametrize("connector", [Guarded])
async def test_submission_under_way_is_not_denied(setting, clock):
    """However old it is: while a program holds the account's lock its job may yet come to be."""
    _, ledger, reconciler = setting
    ledger.record_intent("ps-job-a", "yard", CONFIG)
    clock.now += timedelta(hours=1)
    lock = AccountLock("yard", KEY)
    assert lock.try_acquire()
    assert () == (await account_of(reconciler)).denied
    lock.release()

    assert ("ps-job-a",) == (await account_of(reconciler)).denied
