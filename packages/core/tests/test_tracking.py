"""A job's log at trackers: whole, once and in order, whoever feeds and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peft_studio import ConnectorManager, JobEvent, JobStatus, Ledger, PlatformError, TrainingConfig
from peft_studio.paths import queue_file
from peft_studio.queue import Queue, State
from peft_studio.queue.drain import Drainer
from peft_studio.tracking.companion import TRACKING_KINDS, tracked
from peft_studio.tracking.feed import MOST_EVENTS, Feeder
from peft_studio.tracking.fold import Place, fold

from .queue_platform import ACCOUNT, Account, Acme, Other

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Tracker(Acme):
    """It takes pieces with their places, as a tracker with offsets does."""

    async def log_batch(self, run_id, batch):
        self.account.arrive("log_batch")
        rows = {batch.first_row + index: row for index, row in enumerate(batch.rows)}
        lines = {batch.first_line + index: line.text for index, line in enumerate(batch.lines)}
        known = self.account.runs[run_id]
        known.append((rows, lines, batch.status))
        return self.account.answer(self.account.stopped == ["stop"])


def event(sequence: int, type: str, **data: Any) -> JobEvent:
    """One line of the log."""
    return JobEvent(sequence=sequence, time=NOON, type=type, data=data)


def step(sequence: int, number: int) -> JobEvent:
    """A training step."""
    return event(sequence, "step", step=number, loss=1 / number)


LOG = [
    event(1, "state", status="running"), event(2, "log", level="info", message="begin"), step(3, 1), step(4, 2),
    event(5, "eval", step=2, loss=0.75), step(6, 3), event(7, "error", message="odd\nthing"),
    event(8, "state", status="completed"),
]  # fmt: skip


@pytest.fixture
def account() -> Account:
    """The account at the tracker, and ways to spoil it."""
    ACCOUNT.clear()
    ACCOUNT.append(Account())
    return ACCOUNT[0]


class Desk:
    """A job that acme tracks, with its log in a ledger, and a queue."""

    def __init__(self, folder: Path, trackers: tuple[str, ...]) -> None:
        self.ledger = Ledger(folder / "ledger.sqlite3")
        self.queue = Queue(folder / "queue.sqlite3", known_secrets=lambda: ())
        config = TrainingConfig(base_model="model", dataset_path="data.jsonl", experiment_tracker=trackers)
        self.job = self.ledger.new_tag(config)
        self.ledger.record_intent(self.job, "other", config)
        self.ledger.record_submitted(self.job, "pod")

    def say(self, *events: JobEvent) -> None:
        """The job goes on, and what it says is queued."""
        self.ledger.add_events(self.job, events)
        Feeder(self.ledger, self.queue).feed(self.job)

    def drain(self, connector: type[Acme] = Tracker) -> Any:
        """Carry out what waits, from a process of its own."""

        async def go() -> Any:
            async with ConnectorManager(ledger=self.ledger) as manager:
                manager.registry.register(connector)
                return await Drainer(self.queue, manager, self.ledger, TRACKING_KINDS).drain()

        self.queue.hurry()
        return asyncio.run(go())


@pytest.fixture
def trackers() -> tuple[str, ...]:
    """Who gets what the job tells."""
    return ("acme",)


@pytest.fixture
def desk(tmp_path: Path, account: Account, trackers: tuple[str, ...]) -> Desk:
    """The job before it has said anything."""
    return Desk(tmp_path, trackers)


def arrived(account: Account) -> tuple[list[tuple[int, Any]], list[str], list[Any]]:
    """What stands at the tracker: rows by place, lines by place, and how it ended."""
    rows: dict[int, Any] = {}
    lines: dict[int, str] = {}
    ends = []
    for piece in account.runs["run-1"][1:]:
        rows |= piece[0]
        lines |= piece[1]
        ends.append(piece[2])
    assert sorted(rows) == list(range(len(rows)))
    assert sorted(lines) == list(range(len(lines)))
    return [(rows[n].step, dict(rows[n].metrics)) for n in sorted(rows)], [lines[n] for n in sorted(lines)], ends[-1:]


WHOLE = (
    [
        (1, {"train/loss": 1.0}),
        (2, {"train/loss": 0.5, "eval/loss": 0.75}),
        (3, {"train/loss": 1 / 3}),
    ],
    ["begin", "odd", "thing"],
    ["completed"],
)


def test_log_arrives_whole(desk: Desk, account: Account) -> None:
    """Steps are rows, with what was measured on the validation examples; messages are lines; the end is told."""
    desk.say(*LOG)
    desk.drain()
    assert WHOLE == arrived(account)


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_pieces_come_to_the_same(desk: Desk, account: Account, pieces: int) -> None:
    """However often the log is looked at, the same arrives: a step that is not over waits."""
    for start in range(0, len(LOG), pieces):
        desk.say(*LOG[start : start + pieces])
        desk.drain()
    assert WHOLE == arrived(account)


def test_feeding_again_queues_nothing(desk: Desk, account: Account) -> None:
    """Whoever feeds what was fed, here or in another process, changes nothing."""
    desk.say(*LOG)
    before = len(desk.queue.operations())
    desk.say()
    desk.drain()
    desk.say()
    assert (2, 2) == (before, len(desk.queue.operations()))


def test_tracker_that_was_down_gets_everything(desk: Desk, account: Account) -> None:
    """What a tracker missed waits, and arrives once and in order."""
    account.offline = True
    for each in LOG:
        desk.say(each)
        desk.drain()
    assert {} == account.runs
    account.offline = False
    desk.drain()
    assert WHOLE == arrived(account)


def test_lost_answers_double_nothing(desk: Desk, account: Account) -> None:
    """A piece whose answer was lost is sent again at the same place."""
    desk.say(LOG[0])
    desk.drain()
    desk.say(*LOG[1:])
    account.loses_answers = True
    desk.drain()
    account.loses_answers = False
    desk.drain()
    assert (2, WHOLE) == (account.calls.count("log_batch") - 1, arrived(account))


def test_tracker_without_places_gets_no_row_twice(desk: Desk, account: Account) -> None:
    """Where a tracker takes single rows only, those of a doubtful attempt are looked for first."""
    desk.say(LOG[0])
    desk.drain(Acme)
    desk.say(*LOG[1:])
    account.loses_answers = True
    desk.drain(Acme)
    account.loses_answers = False
    desk.drain(Acme)
    rows = [each[0] for each in account.runs["run-1"] if isinstance(each, tuple)]
    assert ([1, 2, 3], "completed") == (rows, account.runs["run-1"][-1])


def test_step_that_is_trained_again_is_told_once(desk: Desk, account: Account) -> None:
    """After a resume from a checkpoint some steps come again."""
    paused = event(4, "state", status="paused")
    desk.say(event(1, "state", status="running"), step(2, 1), step(3, 2), paused)
    desk.say(event(5, "state", status="running"), step(6, 2), step(7, 3), event(8, "state", status="completed"))
    desk.drain()
    assert [1, 2, 3] == [number for number, _ in arrived(account)[0]]


AGAIN = [
    event(1, "state", status="running"), step(2, 1), step(3, 2), event(4, "eval", step=2, loss=0.75), step(5, 3),
    event(6, "state", status="running"), event(7, "step", step=2, loss=9.0), event(8, "eval", step=2, loss=9.0),
    event(9, "step", step=3, loss=9.0), event(10, "state", status="completed"),
]  # fmt: skip


@pytest.mark.parametrize("pieces", [1, 4, 10])
def test_step_is_told_as_it_was_the_first_time(desk: Desk, account: Account, pieces: int) -> None:
    """Also when it is trained again before anybody has looked at the log."""
    for start in range(0, len(AGAIN), pieces):
        desk.say(*AGAIN[start : start + pieces])
    desk.drain()
    assert WHOLE[0] == arrived(account)[0]


@pytest.mark.parametrize(
    "odd",
    [
        event(3, "step", loss=1.0), event(3, "step", step="first", loss=1.0), event(3, "step", step=7, loss="low"),
        event(3, "state"), event(3, "state", status="preempted"), event(3, "log"),
    ],
)  # fmt: skip
def test_odd_event_holds_nothing_up(desk: Desk, account: Account, odd: JobEvent) -> None:
    """Connectors of others may tell what makes no sense: that alone is left out."""
    desk.say(event(1, "state", status="running"), event(2, "log", message="begin"), odd)
    desk.say(step(4, 1), event(5, "log", message="half \ud800"), event(6, "state", status="completed"))
    desk.drain()
    assert ([(1, {"train/loss": 1.0})], ["begin", "half ?"], ["completed"]) == arrived(account)


def test_long_log_goes_in_blocks(desk: Desk, account: Account) -> None:
    """A block is bounded, and no step is lost between two."""
    steps = [step(number, number) for number in range(1, 2 * MOST_EVENTS + 11)]
    desk.say(*steps, event(len(steps) + 1, "state", status="completed"))
    desk.drain()
    assert (3, len(steps)) == (account.calls.count("log_batch"), len(arrived(account)[0]))


def test_two_that_feed_at_once_queue_everything_once(desk: Desk, account: Account) -> None:
    """Of two processes that saw the same place the second goes on after what the first has queued."""

    class Late(Feeder):
        def _place(self, tracker: str, run: str) -> Place:
            return Place()

    desk.say(*LOG[:4])
    desk.ledger.add_events(desk.job, LOG[4:])
    Late(desk.ledger, desk.queue).feed(desk.job)
    desk.drain()
    assert WHOLE == arrived(account)


def test_stop_at_the_tracker_cancels_the_job(desk: Desk, account: Account) -> None:
    """Somebody presses Stop there: a cancellation of the job waits in the queue, before everything else."""
    account.stopped = ["stop"]
    desk.say(*LOG[:5])
    desk.drain()
    waiting = [(each.kind, each.connector) for each in desk.queue.operations(State.WAITING)]
    assert [("cancel_job", "other")] == waiting


def test_job_whose_log_has_no_end_is_finished(desk: Desk, account: Account) -> None:
    """A job that was lost with its machine says nothing any more: its run is closed all the same."""
    desk.say(*LOG[:3])
    desk.ledger.record_lost(desk.job, "gone")
    desk.say()
    desk.drain()
    assert "failed" == account.runs["run-1"][-1]


def test_resumed_job_is_finished_again(desk: Desk, account: Account) -> None:
    """A run that was closed, and went on, is closed as the job ends the second time."""
    desk.say(*LOG[:3])
    desk.ledger.record_reachable(desk.job, JobStatus.FAILED)
    desk.say()
    desk.ledger.record_resumed(desk.job)
    desk.ledger.record_reachable(desk.job, JobStatus.RUNNING)
    desk.say(step(4, 2), step(5, 3))
    desk.ledger.record_reachable(desk.job, JobStatus.CANCELLED)
    desk.say()
    desk.drain()
    ends = [each for each in account.runs["run-1"] if isinstance(each, str)]
    assert (["start", "failed", "cancelled"], "cancelled") == (ends, account.runs["run-1"][-1])


def test_job_that_cannot_be_queued_stops_no_other(desk: Desk, account: Account, tmp_path: Path) -> None:
    """A config that holds a secret is not queued; the other jobs are told of all the same."""
    desk.ledger.add_events(desk.job, LOG)
    config = TrainingConfig(base_model="org/top-secret", dataset_path="data.jsonl", experiment_tracker=("acme",))
    tag = desk.ledger.new_tag(config)
    desk.ledger.record_intent(tag, "other", config)
    desk.queue = Queue(tmp_path / "other.sqlite3", known_secrets=lambda: ["org/top-secret"])
    Feeder(desk.ledger, desk.queue).feed_all()
    desk.drain()
    assert WHOLE == arrived(account)


def test_folding_in_two_is_folding_at_once() -> None:
    """The place after two batches is the place after one."""
    _, half = fold(LOG[:5], Place())
    assert fold(LOG, Place())[1] == fold(LOG[5:], half)[1]


def test_place_survives_the_queue() -> None:
    """A place can be written down and read."""
    place = fold(LOG, Place())[1]
    assert place == Place.from_dict(place.to_dict())


Meanwhile = Callable[[], Awaitable[None]]


@pytest.fixture
def follow(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Follows the job while something happens, in a home of its own; answers what was told at the end."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))

    def go_along(meanwhile: Meanwhile, *connectors: type[Acme], patience: float = 60.0) -> list[str]:
        told: list[str] = []

        async def go() -> None:
            async with ConnectorManager(ledger=desk.ledger) as manager:
                for connector in connectors:
                    manager.registry.register(connector)
                async with (
                    asyncio.timeout(60),
                    tracked(manager, desk.ledger, desk.ledger.job(desk.job), told.append, patience=patience),
                ):
                    await meanwhile()

        asyncio.run(go())
        return told

    return go_along


async def until(happened: Callable[[], bool]) -> None:
    """Wait for it."""
    while not happened():  # noqa: ASYNC110 -- it happens in code that tells nobody
        await asyncio.sleep(0.01)


class Hanging(Tracker):
    """It answers nothing."""

    async def start_run(self, config):
        await asyncio.Event().wait()


class Second(Tracker):
    """Another tracker with the same account."""

    name = "second"


def test_following_is_never_held_up(desk: Desk, follow: Callable[..., list[str]]) -> None:
    """A tracker that answers nothing costs whoever follows no more than the patience at the end."""
    seen: list[int] = []

    async def read() -> None:
        desk.ledger.add_events(desk.job, LOG)
        await asyncio.sleep(0)
        seen.extend(each.sequence for each in desk.ledger.events(desk.job))

    told = follow(read, Hanging, patience=0.2)
    assert list(range(1, 9)) == seen
    assert ["acme: 2 waiting in the queue; send them: peft-studio queue flush acme"] == told


@pytest.mark.parametrize("trackers", [("acme", "second")])
def test_tracker_that_hangs_holds_up_no_other(desk: Desk, account: Account, follow: Callable[..., list[str]]) -> None:
    """The others hear of what comes while it is waited for, not only at the end."""

    async def train() -> None:
        await until(lambda: "start_run" in account.calls)
        desk.ledger.add_events(desk.job, LOG)
        await until(lambda: "log_batch" in account.calls)

    follow(train, Hanging, Second, patience=0.2)
    assert WHOLE == arrived(account)


def test_stop_at_the_tracker_is_obeyed_while_the_job_is_followed(
    desk: Desk, account: Account, follow: Callable[..., list[str]]
) -> None:
    """The cancellation does not wait for another command: until it is carried out, the job costs."""
    account.jobs, account.stopped = ["pod"], ["stop"]

    async def train() -> None:
        desk.ledger.add_events(desk.job, LOG[:5])
        await until(lambda: bool(account.cancelled))

    follow(train, Tracker, Other)
    assert JobStatus.CANCELLED is desk.ledger.job(desk.job).status


def test_refusal_is_told_at_the_end(desk: Desk, account: Account, follow: Callable[..., list[str]]) -> None:
    """A run that its tracker does not take is not passed over in silence."""
    account.refuses = PlatformError("there is no such project")

    async def train() -> None:
        desk.ledger.add_events(desk.job, LOG)

    (told,) = follow(train, Tracker)
    assert told.startswith("acme has refused 2 for good: ")
    assert "there is no such project; see: peft-studio queue list" in told


def test_queue_that_breaks_holds_up_nobody(
    desk: Desk, account: Account, follow: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever follows the job has its adapter to bring home: a full disk, or worse, is logged."""

    async def train() -> None:
        await until(lambda: "start_run" in account.calls)
        desk.ledger.add_events(desk.job, LOG)
        with sqlite3.connect(queue_file()) as database:
            database.execute("DROP TABLE operations")

    assert [] == follow(train, Tracker)
    assert "could not be queued for its trackers: no such table" in caplog.text
