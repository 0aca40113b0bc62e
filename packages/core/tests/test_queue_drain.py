"""Draining: what each answer of a platform means for what waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest

from peft_studio import (
    CapacityError,
    ConnectionFailed,
    ConnectorManager,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    JobStatus,
    Ledger,
    PlatformError,
    PricingInfo,
    RateLimitError,
    TrainingConfig,
    UnsupportedCapability,
)
from peft_studio.queue import Queue, State, requests
from peft_studio.queue.deferred import Deferred, Queued, queue_submission
from peft_studio.queue.drain import MOST_FAILURES, Drainer
from peft_studio.queue.kinds import KINDS, Kind
from peft_studio.queue.limits import Limits
from peft_studio.queue.submission import SETTLING

from .queue_clock import Clock, operation
from .queue_platform import ACCOUNT, Account, Acme, Other

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl", resource_id="a100")
FREE = attrs.evolve(CONFIG, resource_id=None)


@pytest.fixture
def clock():
    """Begins now: the ledger has a clock of its own."""
    return Clock(datetime.now(UTC).timestamp())


@pytest.fixture
def account():
    """The account on the platform, and ways to spoil it."""
    ACCOUNT.clear()
    ACCOUNT.append(Account())
    return ACCOUNT[0]


@attrs.define
class Desk:
    """A queue, a ledger and a manager that belong together."""

    queue: Queue
    ledger: Ledger
    manager: ConnectorManager
    kinds: dict = attrs.field(factory=lambda: dict(KINDS))

    async def drain(self, *connectors, only=None):
        drainer = Drainer(self.queue, self.manager, self.ledger, kinds=self.kinds, random=lambda: 1.0)
        return await drainer.drain(connectors or None, only=only)

    def submission(self, config=FREE, **options):
        return queue_submission(self.queue, self.ledger, "acme", config, **options)

    def job(self, operation):
        return self.ledger.job(operation.payload["tag"])

    def states(self):
        return [str(each.state) for each in self.queue.operations()]


@pytest.fixture
async def desk(tmp_path, clock, account, monkeypatch):
    """An empty desk, in an empty home."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with (
        Ledger(tmp_path / "ledger.sqlite3") as ledger,
        Queue(tmp_path / "queue.sqlite3", clock=clock, known_secrets=list) as queue,
    ):
        async with ConnectorManager(ledger=ledger, connectors=[Acme, Other], discover=False) as manager:
            yield Desk(queue, ledger, manager)


# Any operation.


def failing(*errors):
    """A kind whose attempts end with these errors, one after the other, and then well."""
    left = list(errors)

    async def handle(attempt):
        if left:
            raise left.pop(0)
        return "done"

    return Kind(handle=handle)


async def test_done_in_order(desk):
    """Each operation once, as they came, what is urgent first; the result is kept."""
    seen = []

    async def handle(attempt):
        seen.append(attempt.operation.key)
        return attempt.operation.key.upper()

    desk.kinds = {"touch": Kind(handle=handle)}
    desk.queue.enqueue_all([operation("a"), operation("b"), operation("stop", is_urgent=True)])
    report = await desk.drain()

    assert ["stop", "a", "b"] == seen == [each.key for each in report.settled]
    assert (3, "A") == (report.count(State.DONE), desk.queue.find("acme", "a").result)


@pytest.mark.parametrize(
    "error",
    [InvalidConfig("no"), CapacityError("no"), PlatformError("no"), JobNotFound("no"), UnsupportedCapability("no")],
    ids=lambda error: type(error).__name__,
)
async def test_refused_for_good(desk, error):
    """A platform that says no is not asked again; the words are kept."""
    desk.kinds = {"touch": failing(error)}
    desk.queue.enqueue(operation())
    await desk.drain()

    assert (State.DEAD, "no") == (desk.queue.operation(1).state, desk.queue.operation(1).reason)


async def test_a_fault_is_tried_again_and_again(desk, clock):
    """Each time later, until it has failed too often."""
    desk.kinds = {"touch": failing(*[KeyError("id")] * 99)}
    desk.queue.enqueue(operation())
    waits = []
    while desk.queue.operation(1).state is State.WAITING:
        waits.append(desk.queue.operation(1).not_before.timestamp() - clock())
        clock.now = max(clock.now, desk.queue.operation(1).not_before.timestamp())
        await desk.drain()

    assert [0, 2, 4, 8, 16] == [round(wait) for wait in waits[:5]]
    assert MOST_FAILURES == desk.queue.operation(1).attempts
    assert f"KeyError: 'id' (given up after {MOST_FAILURES} attempts)" == desk.queue.operation(1).reason


async def test_lost_connection_stops_this_connector_only(desk):
    """What waits behind it would only time out one by one; the other connector goes on; nothing counts as a fault."""
    desk.kinds = {"touch": failing(ConnectionFailed("reset"))}
    desk.queue.enqueue_all([operation("a"), operation("b"), operation("c", connector="other")])
    report = await desk.drain()
    first, second, third = desk.queue.operations()

    assert ["reset"] == [error.what for error in report.unreachable.values()]
    assert (State.WAITING, State.WAITING, State.DONE) == (first.state, second.state, third.state)
    assert (1, 0, 0, True) == (first.attempts, second.attempts, first.failures, first.is_doubtful)
    assert [] == (await desk.drain()).settled


async def test_unreachable_before_anything(desk, clock, account):
    """Without a connection nothing is attempted; it is tried again later, and each time later still."""
    account.offline = True
    desk.queue.enqueue(operation())
    desk.kinds = {"touch": failing()}
    for delay in (2, 4, 8):
        report = await desk.drain()
        assert (["acme"], 0) == (list(report.unreachable), desk.queue.operation(1).attempts)
        assert delay == round(desk.queue.pauses()[0].not_before - clock())
        assert {} == (await desk.drain()).unreachable
        clock.advance(delay)
    account.offline = False
    await desk.drain()

    assert (["done"], []) == (desk.states(), desk.queue.pauses())


@pytest.mark.parametrize(
    ("error", "wait"), [(RateLimitError("slow", retry_after=77), 77), (InvalidCredentials("who?"), 2)]
)
async def test_connector_that_wants_something_else_first(desk, clock, error, wait):
    """Too many requests, or a key that was taken back: all of the connector's operations wait, none is doubtful."""
    desk.kinds = {"touch": failing(error)}
    desk.queue.enqueue_all([operation("a"), operation("b")])
    await desk.drain()

    assert wait == round(desk.queue.pauses()[0].not_before - clock())
    assert [(1, False), (0, False)] == [(each.attempts, each.is_doubtful) for each in desk.queue.operations()]


async def test_doubt_stays(desk):
    """An attempt that certainly did not arrive says nothing of the one before it."""
    desk.kinds = {"touch": failing(ConnectionFailed("reset"), RateLimitError("slow"))}
    desk.queue.enqueue(operation())
    for _ in range(2):
        desk.queue.hurry()
        await desk.drain()

    assert (2, True) == (desk.queue.operation(1).attempts, desk.queue.operation(1).is_doubtful)


async def test_being_stopped_gives_it_back(desk):
    """A drain that is cancelled leaves its operation to the next one at once, as doubtful."""
    begun = asyncio.Event()

    async def handle(attempt):
        if attempt.operation.attempts == 1:
            begun.set()
            await asyncio.Event().wait()

    desk.kinds = {"touch": Kind(handle=handle)}
    desk.queue.enqueue(operation())
    drain = asyncio.create_task(desk.drain())
    await begun.wait()
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)

    assert (State.WAITING, True) == (desk.queue.operation(1).state, desk.queue.operation(1).is_doubtful)
    await desk.drain()
    assert ["done"] == desk.states()


async def test_long_operation_keeps_its_lease(desk, tmp_path):
    """The lease is renewed while a handler works, on the real clock."""
    kept = []

    async def handle(attempt):
        before = lease_of(attempt.queue)
        async with asyncio.timeout(20):
            while (renewed := lease_of(attempt.queue)) == before:  # noqa: ASYNC110 -- the queue is a file: no event
                await asyncio.sleep(0.01)
        kept.append(renewed > before)

    with Queue(tmp_path / "short.sqlite3", lease=0.3, known_secrets=list) as queue:
        queue.enqueue(operation())
        await Drainer(queue, desk.manager, desk.ledger, kinds={"touch": Kind(handle=handle)}).drain()

    assert [True] == kept


def lease_of(queue):
    """Until when the only running operation is held."""
    return queue._db.execute("SELECT leased_until FROM operations WHERE state = 'running'").fetchone()[0]


async def test_connectors_side_by_side(desk):
    """One connector that answers slowly delays no other one."""
    other_is_done = asyncio.Event()

    async def handle(attempt):
        if attempt.connector == "acme":
            async with asyncio.timeout(30):
                await other_is_done.wait()
        else:
            other_is_done.set()

    desk.kinds = {"touch": Kind(handle=handle)}
    desk.queue.enqueue_all([operation("a"), operation("b", connector="other")])
    await desk.drain()

    assert ["done", "done"] == desk.states()


# Submissions.


async def test_submitted_when_it_can_be(desk, account):
    """Pending as queued until then; afterwards a job like any other, under the tag that it was queued with."""
    queued = desk.submission()
    job = desk.job(queued)
    assert ("pending", "queued", True, None) == (str(job.status), job.reason, job.is_queued, job.platform_id)
    assert [] == desk.ledger.open_intents()

    await desk.drain()
    assert [job.id] == account.jobs
    assert f"pod of {job.id}" == desk.job(queued).platform_id == desk.queue.operation(1).result
    assert not desk.job(queued).is_queued


async def test_same_submission_is_one(desk, account):
    """Queued again and again it is one job; once it was submitted, it is another one."""
    assert desk.submission().number == desk.submission().number
    await desk.drain()
    desk.submission()
    await desk.drain()

    assert 2 == len(account.jobs) == len(desk.ledger.jobs())


async def test_tag_of_a_config_does_not_count(desk):
    """A config that was submitted before, and has that tag in it, is still the same one."""
    assert desk.submission().number == desk.submission(attrs.evolve(FREE, tag="ps-job-before")).number


async def test_submissions_do_not_wait_for_each_other(desk, account):
    """One that needs a yes holds up no other one."""
    desk.submission(CONFIG)
    desk.submission(attrs.evolve(FREE, seed=1))
    await desk.drain()

    assert (["needs confirmation", "done"], 1) == (desk.states(), len(account.jobs))


async def test_lost_answer_is_looked_for(desk, account, clock):
    """The platform made the job and its answer was lost: it is found by its tag and not made again."""
    account.loses_answers = True
    queued = desk.submission()
    await desk.drain()
    assert (State.WAITING, 1) == (desk.queue.operation(1).state, len(desk.ledger.open_intents()))

    account.loses_answers = False
    desk.queue.hurry()
    await desk.drain()
    assert (1, f"pod of {account.jobs[0]}") == (len(account.jobs), desk.job(queued).platform_id)
    assert ([], ["done"]) == (desk.ledger.open_intents(), desk.states())


async def test_answer_that_arrived_before_a_kill(desk, account):
    """The ledger has the platform's id already: nobody is asked anything."""
    queued = desk.submission()
    tag = queued.payload["tag"]
    desk.ledger.record_intent(tag, "acme", FREE)
    desk.ledger.record_submitted(tag, "pod-7")
    account.finds_jobs = False
    await desk.drain()

    assert (["done"], "pod-7", []) == (desk.states(), desk.queue.operation(1).result, account.calls)


async def test_lost_request_is_made_again(desk, account, clock):
    """The platform knows no such job: soon after the attempt that says little, later it is believed."""
    account.loses_requests = True
    queued = desk.submission()
    await desk.drain()
    account.loses_requests = False
    clock.advance(SETTLING / 2)
    await desk.drain()
    assert ([], State.WAITING) == (account.jobs, desk.queue.operation(1).state)
    assert "may not know of it yet" in desk.queue.operation(1).reason

    clock.advance(SETTLING + 1)
    await desk.drain()
    assert ([desk.job(queued).id], ["done"], []) == (account.jobs, desk.states(), desk.ledger.open_intents())


async def test_lost_answer_that_cannot_be_looked_for(desk, account, clock):
    """Where nobody can tell, nothing is submitted again: the intent stays open, and the queue says so."""
    account.loses_answers, account.finds_jobs = True, False
    queued = desk.submission()
    await desk.drain()
    account.loses_answers = False
    clock.advance(SETTLING + 1)
    await desk.drain()

    assert (1, ["dead"], 1) == (len(account.jobs), desk.states(), len(desk.ledger.open_intents()))
    assert "it is not known whether" in desk.queue.operation(1).reason
    assert JobStatus.PENDING is desk.job(queued).status


async def test_reconciled_as_absent(desk, account):
    """Whoever reconciled was told that no such job exists: the queue submits it."""
    account.loses_requests = True
    queued = desk.submission()
    await desk.drain()
    (intent,) = desk.ledger.open_intents("submit")
    assert desk.ledger.record_denied(desk.job(queued).id, intent.written)
    account.loses_requests = False
    desk.queue.hurry()
    await desk.drain()

    assert ([desk.job(queued).id], ["done"]) == (account.jobs, desk.states())


async def test_refused_submission(desk, account):
    """The job has failed with the platform's words; the user may have it tried again."""
    account.refuses = CapacityError("no A100")
    queued = desk.submission()
    await desk.drain()
    assert (["dead"], "failed") == (desk.states(), str(desk.job(queued).status))
    assert "no A100" in desk.job(queued).reason

    account.refuses = None
    KINDS["submit_job"].revive(desk.ledger, desk.queue.operation(1))
    desk.queue.retry(1)
    await desk.drain()
    assert (["done"], [desk.job(queued).id]) == (desk.states(), account.jobs)


async def test_expired_submission(desk, clock, account):
    """It is never submitted, and its job is not pending any more."""
    account.offline = True
    queued = desk.submission()
    clock.advance(requests.WEEK)
    await desk.drain()

    assert (["dead"], "failed", "it was not submitted: expired") == (
        desk.states(), str(desk.job(queued).status), desk.job(queued).reason,
    )  # fmt: skip


async def test_cancelled_before_it_was_submitted(desk, account):
    """It is cancelled without asking anybody, and never submitted."""
    account.offline = True
    queued = desk.submission()
    job = await desk.manager.jobs.cancel(desk.job(queued).id)
    account.offline = False
    await desk.drain()

    assert (JobStatus.CANCELLED, [], ["dead"]) == (job.status, account.jobs, desk.states())
    assert JobStatus.CANCELLED is desk.job(queued).status


async def test_queued_without_the_ledger_knowing(desk, account):
    """A process that was killed between queue and ledger: the drain fills in what is missing."""
    desk.queue.enqueue(requests.submit_job("acme", FREE, tag="ps-job-lost"))
    await desk.drain()

    assert (["ps-job-lost"], "pod of ps-job-lost") == (account.jobs, desk.ledger.job("ps-job-lost").platform_id)


# Prices and ages.


async def drained_at(desk, clock, account, *, then, now, age=0.0, config=CONFIG, limits=None):
    """The state of a submission that was queued at one price and drained at another."""
    price = None if then is None else PricingInfo(hourly_rate=then)
    new = requests.submit_job("acme", config, tag="ps-job-priced", price=price, limits=limits)
    desk.queue.enqueue(new)
    account.price = now
    clock.advance(age)
    await desk.drain()
    return desk.queue.operation(1)


@pytest.mark.parametrize(
    ("then", "now", "question"),
    [
        ("1.00", "1.10", None),
        ("1.00", "0.10", None),
        ("1.00", "1.11", "its price has gone from 1.00 USD an hour to 1.11 USD an hour: submit it all the same?"),
        (None, "1.11", "it costs 1.11 USD an hour, which was not known when it was queued: submit it all the same?"),
        (None, "0", None),
        (None, None, None),
        ("1.00", None, "its price, which was 1.00 USD an hour, cannot be told now: submit it all the same?"),
    ],
)
async def test_price(desk, clock, account, then, now, question):
    """A submission asks when its price has risen by more than a tenth, or when nobody knows by how much."""
    asking = await drained_at(desk, clock, account, then=then, now=now)

    assert question == asking.question
    assert ([] if question else ["ps-job-priced"]) == account.jobs


async def test_yes_holds_for_that_price(desk, clock, account):
    """After a yes it is submitted, unless the price moves once more before that."""
    await drained_at(desk, clock, account, then="1.00", now="2.00")
    desk.queue.confirm(1)
    account.price = "3.00"
    await desk.drain()
    assert "its price has gone from 2.00 USD an hour to 3.00 USD an hour" in desk.queue.operation(1).question
    desk.queue.confirm(1)
    await desk.drain()

    assert (["ps-job-priced"], ["done"]) == (account.jobs, desk.states())


async def test_other_currency(desk, clock, account):
    """Numbers of two currencies are not compared."""
    account.currency = "EUR"
    asking = await drained_at(desk, clock, account, then="1.00", now="0.90")

    assert "from 1.00 USD an hour to 0.90 EUR an hour" in asking.question


async def test_budget_stands_for_an_unknown_price(desk, clock, account):
    """Who has set the highest cost of the job has said what it may cost."""
    config = attrs.evolve(CONFIG, max_cost=Decimal(5))
    assert State.DONE is (await drained_at(desk, clock, account, then=None, now="9", config=config)).state


async def test_age(desk, clock, account):
    """A submission that has waited for longer than half a day asks; the time begins anew with the yes."""
    asking = await drained_at(desk, clock, account, then="1.00", now="1.00", age=13 * 3600)
    assert "it has waited 13h00m: submit it all the same?" == asking.question

    desk.queue.confirm(1)
    clock.advance(3600)
    await desk.drain()
    assert ["done"] == desk.states()


@pytest.mark.parametrize(
    ("option", "now", "state"),
    [(None, "2.50", State.DONE), ("0%", "1.00", State.DONE), ("0%", "1.01", State.ASKING)],
)
async def test_limits_of_the_user(desk, clock, account, tmp_path, option, now, state):
    """settings.toml says how far a price may rise, and an option says it for one submission."""
    settings = tmp_path / "home" / "config" / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('[queue]\nmax_price_change = "150%"\nmax_age = "1h"\n')
    assert Limits(max_price_change=Decimal("1.5"), max_age=3600) == Limits.from_settings()
    limits = None if option is None else Limits.from_settings().changed({"max_price_change": option})

    assert state is (await drained_at(desk, clock, account, then="1.00", now=now, limits=limits)).state


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_price_change = 10", 'queue.max_price_change must be like "10%", not 10'),
        ('max_price_change = "-1%"', "must be like"),
        ('max_age = "soon"', "queue.max_age must be like \"12h\", not 'soon'"),
        ('max_ago = "1h"', "queue.max_ago is not a setting"),
        ("=", "cannot be read"),
    ],
)
def test_wrong_settings(tmp_path, text, message):
    """A setting that is not understood is refused by name: it may be there to save money."""
    file = tmp_path / "settings.toml"
    file.write_text(f"[queue]\n{text}\n")

    with pytest.raises(InvalidConfig) as caught:
        Limits.from_settings(file)
    assert message in str(caught.value)


# Cancellations, deployments, uploads.


async def test_cancellation_goes_first_and_twice_is_once(desk, account):
    """A queued cancellation is carried out before a submission, and stands in the ledger."""
    job = await desk.manager.connect("acme") and await desk.manager.jobs.submit("acme", FREE)
    desk.submission(attrs.evolve(FREE, seed=1))
    for _ in range(2):
        desk.queue.enqueue(requests.cancel_job("acme", job.id))
    await desk.drain()

    assert [job.platform_id] == account.cancelled
    assert account.calls.index("cancel_job") < len(account.calls) - 1 - account.calls[::-1].index("submit_job")
    assert JobStatus.CANCELLED is desk.ledger.job(job.id).status


async def test_cancellation_of_what_is_gone(desk, account):
    """The platform does not know the job: there is nothing left to stop."""
    await desk.manager.connect("acme")
    job = await desk.manager.jobs.submit("acme", FREE)
    account.jobs.clear()
    desk.queue.enqueue(requests.cancel_job("acme", job.id))
    await desk.drain()

    assert ["done"] == desk.states()


async def test_cancellation_of_what_may_exist(desk, account):
    """The platform does not know the tag yet: the cancellation is tried again, for the job may still come up."""
    account.loses_requests = True
    desk.submission()
    await desk.drain()
    account.loses_requests = False
    desk.queue.hurry()
    tag = desk.ledger.jobs()[0].id
    cancellation = desk.queue.enqueue(requests.cancel_job("acme", tag))
    await desk.drain(only=cancellation.number)
    assert State.WAITING is desk.queue.operation(cancellation.number).state

    account.jobs.append(tag)
    desk.queue.hurry()
    await desk.drain(only=cancellation.number)
    assert ([f"pod of {tag}"], JobStatus.CANCELLED) == (account.cancelled, desk.ledger.job(tag).status)


async def test_deployment_is_stopped(desk, account):
    """Stopping to serve is urgent and never expires."""
    queued = desk.queue.enqueue(requests.stop_deployment("acme", "endpoint-1"))
    await desk.drain()

    assert ((True, None), ["endpoint-1"]) == ((queued.is_urgent, queued.expires), account.stopped)


async def test_upload(desk, account, tmp_path):
    """The files go as they were when they were queued; changed ones do not go at all."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    for _ in range(2):
        desk.queue.enqueue(requests.upload_artifact("acme", folder, {"name": "mine"}))
    await desk.drain()
    assert ([(str(folder), {"name": "mine"})], ["done"]) == (account.uploads, desk.states())

    desk.queue.enqueue(requests.upload_artifact("acme", folder, {"name": "again"}))
    (folder / "weights").write_bytes(b"2")
    await desk.drain()
    assert (1, "dead") == (len(account.uploads), desk.states()[-1])
    assert "has changed since it was queued" in desk.queue.operations()[-1].reason


def test_upload_of_nothing(tmp_path):
    """What cannot be read now is told now."""
    with pytest.raises(InvalidConfig, match="absent cannot be uploaded: No such file"):
        requests.upload_artifact("acme", tmp_path / "absent")


# Tracking.


def run_of(writes, run="r"):
    """A run with so many steps."""
    steps = [requests.log_metrics("acme", run, number, {"loss": 1 / number}, number) for number in range(1, writes + 1)]
    text = requests.log_text("acme", run, writes + 1, "last words")
    finish = requests.finish_run("acme", run, JobStatus.COMPLETED)
    return [requests.start_run("acme", run, {"rank": 8}), *steps, text, finish]


async def test_run(desk, account):
    """A whole run arrives in order, under the tracker's id; queued twice it arrives once."""
    for _ in range(2):
        desk.queue.enqueue_all(run_of(3))
    await desk.drain()
    desk.queue.enqueue_all(run_of(3))
    await desk.drain()

    assert ["start", (1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 1 / 3}), "last words", "completed"] == (
        account.runs["run-1"]
    )
    assert 1 == len(account.runs)


@pytest.mark.parametrize("reads_back", [True, False])
async def test_doubtful_write_is_looked_for(desk, account, reads_back):
    """A step whose answer was lost is not written again where the tracker tells what it has; else it is there twice."""
    account.reads_back = reads_back
    desk.queue.enqueue(requests.start_run("acme", "r", {}))
    await desk.drain()
    account.loses_answers = True
    desk.queue.enqueue(requests.log_metrics("acme", "r", 1, {"loss": 0.5, "grad_norm": float("nan")}, 7))
    await desk.drain()
    account.loses_answers = False
    desk.queue.hurry()
    await desk.drain()

    assert ["done", "done"] == desk.states()
    assert [7] * (1 if reads_back else 2) == [row[0] for row in account.runs["run-1"][1:]]


async def test_other_write_of_the_same_step(desk, account):
    """A doubtful write is not taken for another one with the same step."""
    desk.queue.enqueue_all([requests.start_run("acme", "r", {}), requests.log_metrics("acme", "r", 1, {"loss": 1}, 7)])
    await desk.drain()
    account.loses_requests = True
    desk.queue.enqueue(requests.log_metrics("acme", "r", 2, {"loss": 2}, 7))
    await desk.drain()
    account.loses_requests = False
    desk.queue.hurry()
    await desk.drain()

    assert [(7, {"loss": 1}), (7, {"loss": 2})] == account.runs["run-1"][1:]


async def test_run_that_could_not_be_opened(desk, account):
    """Its writes are dead with the reason, instead of waiting for ever."""
    account.refuses = PlatformError("quota")
    desk.queue.enqueue_all(run_of(1))
    await desk.drain()

    assert {State.DEAD} == {each.state for each in desk.queue.operations()}
    assert "run r was never opened at acme" in desk.queue.operations()[1].reason
    assert "quota" in desk.queue.operations()[1].reason


# Now if it can be, later if not.


def deferred(desk, path, clock):
    """With the desk's own file."""
    return Deferred(desk.manager, desk.ledger, lambda: Queue(path, clock=clock, known_secrets=list))


async def test_submission_without_a_connection_is_queued(desk, account, clock):
    """The error says so, has the platform's words, and the job is pending as queued."""
    account.offline = True
    with pytest.raises(Queued, match=r"is queued: .*no route") as caught:
        await deferred(desk, desk.queue.path, clock).submit("acme", FREE)

    assert desk.job(caught.value.operation).is_queued
    assert (5, "acme (1.0.0)") == (caught.value.exit_code, caught.value.connector)


async def test_submission_without_an_answer_is_not_queued(desk, account, clock):
    """It may have arrived: the open intent is left to whoever reconciles."""
    account.loses_answers = True
    with pytest.raises(ConnectionFailed) as caught:
        await deferred(desk, desk.queue.path, clock).submit("acme", FREE)

    assert not isinstance(caught.value, Queued)
    assert ([], 1) == (desk.queue.operations(), len(desk.ledger.open_intents()))


async def test_submission_that_is_queued_already_is_made_now(desk, account, clock):
    """One job, at whatever price: who asks for it now agrees."""
    account.offline = True
    queued = desk.submission(CONFIG)
    account.offline, account.price = False, "99"
    job = await deferred(desk, desk.queue.path, clock).submit("acme", CONFIG)

    assert ([job.id], job.id, ["done"]) == (account.jobs, queued.payload["tag"], desk.states())


async def test_queued_submission_that_is_refused_now(desk, account, clock):
    """Whoever waits for it is told."""
    desk.submission()
    account.refuses = CapacityError("no A100")

    with pytest.raises(PlatformError, match=r"was not submitted: .*no A100"):
        await deferred(desk, desk.queue.path, clock).submit("acme", FREE)


async def test_submission_that_another_process_makes(desk, account, clock):
    """It is not made twice."""
    queued = desk.submission()
    desk.queue.claim("acme", KINDS)

    with pytest.raises(Queued, match=f"job {queued.payload['tag']}, which was queued before, is running"):
        await deferred(desk, desk.queue.path, clock).submit("acme", FREE)
    assert [] == account.jobs


async def test_cancellation_without_a_connection_is_queued(desk, account, clock):
    """Whether the connection or the answer is missing: stopping twice is stopping once."""
    await desk.manager.connect("acme")
    job = await desk.manager.jobs.submit("acme", FREE)
    account.loses_answers = True
    with pytest.raises(Queued, match=f"cancellation is queued; acme cannot be reached; job {job.id} may cost"):
        await deferred(desk, desk.queue.path, clock).cancel(job.id)
    account.loses_answers = False
    await desk.drain()

    assert (["done"], JobStatus.CANCELLED) == (desk.states(), desk.ledger.job(job.id).status)
