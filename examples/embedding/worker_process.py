"""A task queue that fine-tunes: worker processes take tasks from a table and run each as a job.

    python worker_process.py add queue.sqlite3 first.toml second.toml
    python worker_process.py work queue.sqlite3 adapters --processes 2

`run_task` is what one would give to Celery, RQ or Dramatiq; the queue here is SQLite, so that nothing must be installed
or running. A task that fails is noted and the worker goes on. A worker that dies is replaced, and its task's job, which
did not die with it, is found again instead of being started a second time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import sqlite3
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import attrs

from peft_studio import JobStatus, SyncConnectorManager, TrainingConfig, load_config
from peft_studio.ledger import JobRecord


@attrs.frozen
class Task:
    """One line of the queue. The name is the job's project, which is how a second worker recognises the job."""

    name: str
    config: TrainingConfig


class Queue:
    """Tasks in one SQLite file; each change is one statement, so that workers need no lock."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS tasks"
            " (name TEXT PRIMARY KEY, config TEXT, state TEXT DEFAULT 'waiting', worker INTEGER, result TEXT)"
        )

    def add(self, config: TrainingConfig) -> str:
        """Put a task at the end; its name."""
        name = f"task-{secrets.token_hex(4)}"
        self._db.execute("INSERT INTO tasks (name, config) VALUES (?, ?)", (name, json.dumps(config.to_dict())))
        return name

    def take(self) -> Task | None:
        """The first task that waits, now ours; None when there is none."""
        row = self._db.execute(
            "UPDATE tasks SET state = 'running', worker = ? WHERE name ="
            " (SELECT name FROM tasks WHERE state = 'waiting' ORDER BY rowid LIMIT 1) RETURNING name, config",
            (os.getpid(),),
        ).fetchone()
        return None if row is None else Task(row[0], TrainingConfig.from_dict(json.loads(row[1])))

    def finish(self, task: Task, state: str, result: str) -> None:
        """Note what came of it: the adapter's folder, or why there is none."""
        self._db.execute("UPDATE tasks SET state = ?, result = ? WHERE name = ?", (state, result, task.name))

    def give_back(self, worker: int | None = None) -> None:
        """Let others have the tasks of a worker that is gone; None means that all of them are."""
        self._db.execute(
            "UPDATE tasks SET state = 'waiting' WHERE state = 'running' AND coalesce(worker = ?, 1)", (worker,)
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def run_task(task: Task, adapters: Path) -> Path:
    """Train as the task says, with a manager of its own; the adapter's folder."""
    adapter = adapters / task.name
    if adapter.exists():  # an adapter arrives whole or not at all: only the note is missing
        return adapter
    with SyncConnectorManager() as manager:
        job = job_of(task, manager) or manager.jobs.submit(task.config.provider or "local", task.config)
        for event in manager.jobs.follow(job.id):
            if event.type == "step":
                print(f"{task.name}: step {event.data['step']}  loss {event.data['loss']:.4f}", flush=True)
        job = manager.jobs.get(job.id)
        if job.status is not JobStatus.COMPLETED:
            raise RuntimeError(f"job {job.id} is {job.status}: {job.reason}")
        return manager.jobs.pull(job.id, adapter)


def job_of(task: Task, manager: SyncConnectorManager) -> JobRecord | None:
    """The job that an earlier worker started for this task."""
    jobs = manager.jobs.list_jobs()
    return next((job for job in jobs if job.config.get("project_name") == task.name), None)


def work(queue_file: Path, adapters: Path) -> None:
    """Run tasks until none waits."""
    with closing(Queue(queue_file)) as queue:
        while (task := queue.take()) is not None:
            named = attrs.evolve(task, config=attrs.evolve(task.config, project_name=task.name))
            try:
                adapter = run_task(named, adapters)
            except Exception as error:  # noqa: BLE001 -- a worker outlives whatever its tasks do
                queue.finish(task, "failed", str(error))
                print(f"{task.name}: failed: {error}", flush=True)
            else:
                queue.finish(task, "done", str(adapter))
                print(f"{task.name}: done: {adapter}", flush=True)


def supervise(queue_file: Path, adapters: Path, processes: int) -> None:
    """Keep that many workers at work until the queue is empty; there is one supervisor for a queue."""
    with closing(Queue(queue_file)) as queue:
        queue.give_back()
        workers = [start(queue_file, adapters) for _ in range(processes)]
        while workers:
            worker = workers.pop()
            worker.join()
            if worker.exitcode != 0:
                print(f"worker {worker.pid} died and is replaced", flush=True)
                queue.give_back(worker.pid)
                workers.append(start(queue_file, adapters))


def start(queue_file: Path, adapters: Path) -> BaseProcess:
    """A worker with an interpreter of its own: an event loop does not survive a fork."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(queue_file, adapters))
    process.start()
    return process


def main() -> None:
    """Add tasks, or work them off."""
    parser = argparse.ArgumentParser(description="A task queue that fine-tunes.")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="put configs into the queue")
    add.add_argument("queue", type=Path)
    add.add_argument("configs", type=Path, nargs="+")
    run = commands.add_parser("work", help="run what waits in the queue")
    run.add_argument("queue", type=Path)
    run.add_argument("adapters", type=Path, help="folder that gets the adapters")
    run.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.command == "work":
        supervise(given.queue, given.adapters, given.processes)
        return
    with closing(Queue(given.queue)) as queue:
        for config in given.configs:
            print(queue.add(load_config(config)))


if __name__ == "__main__":
    main()
