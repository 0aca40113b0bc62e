"""A client that is killed at a chosen moment: `python doomed_client.py MODULE…`, then a JSON object a line on stdin.

It imports the modules once and forks for each trial, so that a trial costs no start. Steps are counted from outside the
product: every resumption of every coroutine that a task runs is one before it and one after it, and at the chosen one
the process gets SIGKILL. Each answer is a line with the number of steps that were made, or null for a killed trial.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from peft_studio import ConnectorManager, Ledger, TrainingConfig
from peft_studio.reconcile import Reconciler


class Steps:
    """Counts, and ends the process at `last`."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self.last = last

    def take(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose resumptions are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def send(self, value: Any) -> Any:
        self._steps.take()
        try:
            return self._inner.send(value)
        finally:
            self._steps.take()

    def throw(self, *error: Any) -> Any:
        self._steps.take()
        try:
            return self._inner.throw(*error)
        finally:
            self._steps.take()

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


async def live(home: Path, config: TrainingConfig) -> None:
    """Everything that a client does with jobs: submit, follow, collect; submit, cancel; submit, lose, tear down."""
    with Ledger(home / "ledger.sqlite3") as ledger:
        async with ConnectorManager(ledger=ledger) as manager:
            jobs = manager.jobs
            job = await jobs.submit("acme", config)
            async for _ in jobs.follow(job.id):
                pass
            await jobs.pull(job.id, home / "adapter")
            await jobs.cancel((await jobs.submit("acme", config)).id)
            lost = await jobs.submit("acme", config)
            ledger.record_lost(lost.id, "the test says that it is over, and its machine lives on")
            reconciler = Reconciler(manager, ledger)
            for account in await reconciler.reconcile(["acme"]):
                await reconciler.destroy(account)


async def live_on_a_pod(home: Path, config: TrainingConfig) -> None:
    """A job on a rented machine: submit, feed, follow, bring the adapter home, tear down."""
    with Ledger(home / "ledger.sqlite3") as ledger:
        async with ConnectorManager(ledger=ledger) as manager:
            job = await manager.jobs.submit("runpod", attrs.evolve(config, resource_id="RTX A5000"), feed=False)
            async for _ in manager.jobs.follow(job.id):
                pass


LIVES = {"acme": live, "runpod": live_on_a_pod}


def trial(home: str, last: int, dataset: str, environment: dict[str, str], connector: str = "acme") -> int:
    """Run a client's life in this process, up to the step `last`; the number of steps."""
    os.environ.update(environment, PEFT_STUDIO_HOME=home)
    config = TrainingConfig(base_model="HuggingFaceTB/SmolLM2-135M-Instruct", dataset_path=dataset)
    steps = Steps(last)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_task_factory(lambda loop, inner, **more: asyncio.Task(Counted(inner, steps), loop=loop, **more))
        runner.run(LIVES[connector](Path(home), config))
    return steps.count


def forked(order: dict[str, Any]) -> int | None:
    """The number of steps of a trial in a process of its own; None when it was killed. Anything else is an error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, json.dumps(trial(**order)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        count = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the trial ended with {status}")
    return int(count) if count else None


if __name__ == "__main__":
    for module in (*sys.argv[1:], "peft_studio.transport"):
        import_module(module)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(forked(json.loads(line))) + "\n")
        sys.stdout.flush()
