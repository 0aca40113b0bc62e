"""Fills a queue and empties it: `python queue_program.py ours|persist-queue|huey FOLDER COUNT`.

Each put is on the disk before the next begins, and each get is acknowledged before the next, where there is something
to acknowledge. Prints seconds, and what the connection itself says of its durability.
"""

# ruff: noqa: SLF001 -- nobody but a connection itself knows how durable it is

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What `log_metrics` queues: about two hundred bytes.
PAYLOAD = {"run": "ps-measured-abcdefghjk", "step": 1, "metrics": {"loss": 1.2345678, "learning_rate": 2e-4, "x": 0.5}}

Steps = tuple[Callable[[int], Any], Callable[[], Any], Callable[[], sqlite3.Connection]]


def ours(folder: Path, count: int) -> Steps:
    """The offline queue: dedupes by key, keeps the order of streams, leases."""
    from peft_studio.queue import Done, NewOperation, Queue

    queue = Queue(folder / "queue.sqlite3", known_secrets=list)

    def put(number: int) -> None:
        queue.enqueue(
            NewOperation(
                kind="log_metrics",
                connector="acme",
                key=f"run:r:{number}",
                stream="run:r",
                payload=PAYLOAD,
                is_once=True,
            )
        )

    def drain() -> None:
        claimed = queue.claim("acme", ["log_metrics"])
        for _ in range(count):
            assert claimed is not None
            claimed = queue.settle_and_claim(claimed, Done(), ["log_metrics"])
        assert claimed is None

    return put, drain, lambda: queue._db


def persist_queue(folder: Path, count: int) -> Steps:
    """persist-queue's SQLite queue with acknowledgements; the same payload as JSON."""
    from persistqueue import SQLiteAckQueue
    from persistqueue.serializers import json as serializer

    queue = SQLiteAckQueue(str(folder), serializer=serializer)

    def drain() -> None:
        for _ in range(count):
            queue.ack(queue.get(block=False))
        assert queue.qsize() == 0

    return lambda number: queue.put({**PAYLOAD, "number": number}), drain, lambda: queue._putter


def huey(folder: Path, count: int) -> Steps:
    """The SQLite storage of huey. What is taken out is gone from the file: there is nothing to acknowledge."""
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=str(folder / "huey.db"), fsync=True, strict_fifo=True)

    def put(number: int) -> None:
        storage.enqueue(json.dumps({**PAYLOAD, "number": number}).encode())

    def drain() -> None:
        for _ in range(count):
            json.loads(bytes(storage.dequeue()))
        assert storage.dequeue() is None

    return put, drain, lambda: storage.conn


def main(name: str, folder: str, count: int) -> None:
    """Measure one of them."""
    contestants = {"ours": ours, "persist-queue": persist_queue, "huey": huey}
    put, drain, connection = contestants[name](Path(folder), count)
    began = time.perf_counter()
    for number in range(count):
        put(number)
    filled = time.perf_counter()
    drain()
    emptied = time.perf_counter()
    db = connection()
    durability = [db.execute(f"PRAGMA {setting}").fetchone()[0] for setting in ("journal_mode", "synchronous")]
    print(json.dumps({"fill": filled - began, "drain": emptied - filled, "durability": durability}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
