"""Programs that are killed while they fill and drain a queue; run as a process of its own, because it forks.

`python queue_crasher.py random FOLDER OPERATIONS KILLS SEED` kills a filler and two drainers again and again.
`python queue_crasher.py statements FOLDER KIND` kills at the first statement, then at the second, and so on.
The platform is a file that only grows: what arrives twice stands there twice.
"""

# ruff: noqa: C901, D103, T201 -- a program: it prints what it found, and its connector is one class

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft_studio import ConnectorManager, JobStatus, Ledger, PricingInfo, Resource, TrainingConfig, TrainingConnector
from peft_studio._sqlite import use_write_ahead_log
from peft_studio.queue import NewOperation, Queue, State
from peft_studio.queue.drain import Drainer
from peft_studio.queue.kinds import KINDS, Attempt, Kind
from peft_studio.queue.requests import cancel_job, submit_job
from peft_studio.queue.submission import SETTLING

LEASE = 5.0
#: Operations of one stream, which must arrive in order; a kill holds up a stream for the rest of a lease.
LENGTH = 20
CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")


class Platform:
    """What has arrived, in order."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
        use_write_ahead_log(self.db)
        self.db.execute("PRAGMA synchronous = OFF")  # processes are killed here, not the machine
        self.db.execute("CREATE TABLE IF NOT EXISTS arrived (connector TEXT, stream TEXT, key TEXT)")

    def add(self, connector: str, stream: str, key: str) -> None:
        self.db.execute("INSERT INTO arrived VALUES (?, ?, ?)", (connector, stream, key))

    def knows(self, key: str) -> bool:
        return self.db.execute("SELECT 1 FROM arrived WHERE key = ?", (key,)).fetchone() is not None

    def rows(self) -> list[tuple[str, str, str]]:
        return self.db.execute("SELECT connector, stream, key FROM arrived ORDER BY rowid").fetchall()


def connector_class(given: str, platform: Platform, at_call: Callable[[], None] = lambda: None) -> type:
    """A connector whose jobs are rows; `at_call` is told before and after something arrives."""

    class Rows(TrainingConnector):
        name = given
        display_name = given
        description = "Rows of a table"
        version = "1.0.0"

        async def connect(self, credentials):
            return True

        async def disconnect(self):
            pass

        async def submit_job(self, config):
            at_call()
            platform.add(given, "jobs", config.tag)
            at_call()
            return f"job {config.tag}"

        async def find_job(self, tag):
            return f"job {tag}" if platform.knows(tag) else None

        async def get_job_status(self, job_id):
            return JobStatus.CANCELLED if platform.knows(f"cancelled {job_id}") else JobStatus.RUNNING

        async def cancel_job(self, job_id):
            at_call()
            if not platform.knows(f"cancelled {job_id}"):
                platform.add(given, "cancellations", f"cancelled {job_id}")
            at_call()
            return True

        async def stream_logs(self, job_id):
            yield "line"

        async def download_artifact(self, job_id, destination):
            return Path(destination)

        async def list_resources(self):
            return [Resource(id="a", name="A")]

        async def get_pricing(self, resource_id):
            return PricingInfo(hourly_rate=1)

    return Rows


def touch_of(platform: Platform) -> Kind:
    """A kind whose repetition would be seen, and that therefore looks first where an attempt is doubtful."""

    async def handle(attempt: Attempt) -> None:
        operation = attempt.operation
        if not (operation.is_doubtful and platform.knows(operation.key)):
            platform.add(operation.connector, operation.stream, operation.key)

    return Kind(handle=handle)


def fill(folder: Path, count: int) -> None:
    """Queue what is not acknowledged yet, in pieces, and acknowledge each piece once it is queued."""
    acknowledged = folder / "acknowledged"
    done = int(acknowledged.read_text() or 0) if acknowledged.exists() else 0
    with Queue(folder / "queue.sqlite3", lease=LEASE, known_secrets=list) as queue:
        while done < count:
            piece = range(max(0, done - 3), min(count, done + random.randint(1, 20)))  # a few of them again
            queue.enqueue_all(
                NewOperation(
                    kind="touch", connector=("acme", "other")[number % 2], key=f"{number:06}",
                    stream=str(number % (count // LENGTH)), is_once=True,
                )
                for number in piece
            )  # fmt: skip
            done = piece.stop
            draft = folder / f"acknowledged.{os.getpid()}"
            draft.write_text(str(done))
            draft.replace(acknowledged)


async def drain(folder: Path, count: int) -> None:
    """Drain until everything is done."""
    platform = Platform(folder / "platform.sqlite3")
    ledger = Ledger(folder / "ledger.sqlite3")
    connectors = [connector_class(name, platform) for name in ("acme", "other")]
    with Queue(folder / "queue.sqlite3", lease=LEASE, known_secrets=list) as queue:
        async with ConnectorManager(ledger=ledger, connectors=connectors, discover=False) as manager:
            drainer = Drainer(queue, manager, ledger, kinds={"touch": touch_of(platform)})
            while len(platform.rows()) < count or any(queue.operations(State.WAITING, State.RUNNING)):
                await drainer.drain()
                await asyncio.sleep(0.01)


def forked(work: Callable[[], Any]) -> int:
    """Process id of a child that does `work` and ends without cleaning up after its parent."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- a child tells what it failed of, and is gone
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return child


def at_random(folder: Path, count: int, kills: int) -> dict[str, Any]:
    """Keep a filler and two drainers running, kill one of them at a random moment, `kills` times; then let them end."""
    works = {
        "fill": lambda: fill(folder, count),
        "drain": lambda: asyncio.run(drain(folder, count)),
        "drain too": lambda: asyncio.run(drain(folder, count)),
    }
    running = {name: forked(work) for name, work in works.items()}
    killed, ended_alone = 0, 0
    began = time.monotonic()
    while killed < kills:
        time.sleep(random.expovariate(1 / 0.04))
        name = random.choice(list(running))
        os.kill(running[name], signal.SIGKILL)
        _, status = os.waitpid(running[name], 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"{name} failed"
        killed += os.WIFSIGNALED(status)
        ended_alone += not os.WIFSIGNALED(status)
        running[name] = forked(works[name])
    while_killing = time.monotonic() - began
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in running.values()]
    return {
        "kills": killed, "ended_alone": ended_alone, "codes": codes, "seconds": round(time.monotonic() - began, 1),
        "seconds_of_killing": round(while_killing, 1),
    }  # fmt: skip


class Countdown:
    """Kills this process when it has been called so many times."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def one_life(folder: Path, kind: str, kill_at: int, later: float = 0.0) -> None:
    """Queue one operation and drain; each statement of queue and ledger, and each side of the call, is a moment."""
    countdown = Countdown(kill_at)
    platform = Platform(folder / "platform.sqlite3")
    ledger = Ledger(folder / "ledger.sqlite3")
    queue = Queue(folder / "queue.sqlite3", clock=lambda: time.time() + later, lease=LEASE, known_secrets=list)
    for db in (ledger._db, queue._db):
        db.set_trace_callback(countdown)
    if kind == "submit_job":
        queue.enqueue(submit_job("acme", CONFIG, tag="ps-job-one"))
        ledger.record_queued("ps-job-one", "acme", CONFIG)
    else:
        if not any(ledger.jobs()):
            ledger.record_intent("ps-job-one", "acme", CONFIG)
        if ledger.open_intents():
            ledger.record_submitted("ps-job-one", "job ps-job-one")
        queue.enqueue(cancel_job("acme", "ps-job-one"))

    async def go() -> None:
        acme = connector_class("acme", platform, countdown)
        async with ConnectorManager(ledger=ledger, connectors=[acme], discover=False) as manager:
            await Drainer(queue, manager, ledger, kinds=KINDS, random=lambda: 0.0).drain()

    asyncio.run(go())


def at_each_statement(folder: Path, kind: str) -> list[dict[str, Any]]:
    """What stands there after a life that was killed at moment 1, 2, 3, …, and a second one that was not."""
    outcomes = []
    for moment in range(1, 1000):
        place = folder / str(moment)
        place.mkdir()
        _, status = os.waitpid(forked(lambda place=place, moment=moment: one_life(place, kind, moment)), 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return outcomes
        _, second = os.waitpid(forked(lambda place=place: one_life(place, kind, 0, later=LEASE + SETTLING)), 0)
        assert second == 0
        with Ledger(place / "ledger.sqlite3") as ledger:
            jobs = [(job.id, job.platform_id, str(job.status)) for job in ledger.jobs()]
            intents = len(ledger.open_intents())
        arrived = [key for _, _, key in Platform(place / "platform.sqlite3").rows()]
        with Queue(place / "queue.sqlite3", known_secrets=list) as queue:
            states = [str(each.state) for each in queue.operations()]
        outcomes.append({"arrived": arrived, "jobs": jobs, "open_intents": intents, "states": states})
    raise AssertionError("it never came to its end")


def main(what: str, folder: str, *arguments: str) -> None:
    if what == "random":
        count, kills, seed = map(int, arguments)
        random.seed(seed)
        print(json.dumps(at_random(Path(folder), count, kills)))
    else:
        print(json.dumps(at_each_statement(Path(folder), arguments[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
