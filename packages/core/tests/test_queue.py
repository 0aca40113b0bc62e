"""The queue's file: order, keys, leases, and what must never be in it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from peft_studio import InvalidConfig, Ledger, PeftStudioError
from peft_studio.queue import Again, Ask, Dead, Done, OperationNotFound, Queue, State
from peft_studio.queue.backoff import LONGEST, backoff
from peft_studio.queue.store import MEMORY
from peft_studio.redaction import hold
from peft_studio.secret import Secret

from .queue_clock import Clock, operation

TOUCH = ["touch"]


@pytest.fixture
def clock():
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    """An empty queue."""
    with Queue(tmp_path / "queue.sqlite3", clock=clock, known_secrets=lambda: ["hunter22", "sl/ash+y"]) as opened:
        yield opened


def keys(operations):
    """Their keys."""
    return [each.key for each in operations]


def drained(queue, connector="acme"):
    """Keys in the order in which they are claimed, each done at once."""
    order = []
    claimed = queue.claim(connector, TOUCH)
    while claimed is not None:
        order.append(claimed.key)
        claimed = queue.settle_and_claim(claimed, Done(), TOUCH)
    return order


def test_order_of_arrival(queue):
    """Operations are claimed as they came; what is urgent goes before."""
    queue.enqueue_all([operation("b"), operation("a"), operation("stop", is_urgent=True), operation("c")])

    assert ["stop", "b", "a", "c"] == drained(queue)


def test_stream_waits_for_its_first(queue, clock):
    """What waits for its next attempt holds up its own stream, and no other one."""
    queue.enqueue_all([operation("1", stream="run"), operation("2", stream="run"), operation("3", stream="other")])
    queue.settle(queue.claim("acme", TOUCH), Again("busy", delay=10))

    assert ["3"] == drained(queue)
    clock.advance(10)
    assert ["1", "2"] == drained(queue)


def test_stream_waits_for_a_yes_and_not_for_the_dead(queue):
    """An open question holds the stream up; what has failed for good does not."""
    queue.enqueue_all([operation("1", stream="run"), operation("2", stream="run")])
    queue.settle(queue.claim("acme", TOUCH), Ask("really?"))
    assert [] == drained(queue)

    queue.confirm(1)
    queue.settle(queue.claim("acme", TOUCH), Dead("no"))
    assert ["2"] == drained(queue)


def test_streams_of_two_connectors(queue):
    """The same stream at another connector is another stream."""
    queue.enqueue_all([operation("1", stream="s"), operation("1", stream="s", connector="other")])
    queue.claim("acme", TOUCH)

    assert ["1"] == drained(queue, "other")


def test_one_key_is_one_operation(queue):
    """The first stays; what was queued first counts."""
    first = queue.enqueue(operation("one", payload={"n": 1}))

    assert (first.number, {"n": 1}) == (
        queue.enqueue(operation("one", payload={"n": 2})).number, queue.operation(first.number).payload,
    )  # fmt: skip
    assert first.number != queue.enqueue(operation("one", connector="other")).number


@pytest.mark.parametrize("is_once", [True, False])
def test_a_key_that_is_over(queue, is_once):
    """It stands for what was done, or begins anew, at the end of the line."""
    first = queue.enqueue(operation("one", is_once=is_once))
    queue.settle(queue.claim("acme", TOUCH), Done("id-1"))
    second = queue.enqueue(operation("one", is_once=is_once))

    assert is_once == (first.number == second.number)
    assert (State.DONE if is_once else State.WAITING) == second.state


def test_result_is_kept_and_payload_is_not(queue):
    """What the platform answered can be looked up; what was sent is forgotten."""
    queue.enqueue(operation("one", payload={"text": "long"}))
    queue.settle(queue.claim("acme", TOUCH), Done({"id": "7"}))

    assert ({"id": "7"}, {}) == (queue.find("acme", "one").result, queue.find("acme", "one").payload)


@pytest.mark.parametrize("odd", [datetime(2026, 1, 2, tzinfo=UTC), "half \ud800"])
def test_all_or_none(queue, odd):
    """One that cannot be queued keeps the others out, too."""
    with pytest.raises(InvalidConfig, match="a touch cannot be queued: its payload is no JSON"):
        queue.enqueue_all([operation("one"), operation("two", payload={"odd": odd})])
    assert [] == queue.operations()


def test_lease_is_taken_over(queue, tmp_path, clock):
    """A claim that nobody renews goes to another process, which is told; the first one's outcome is ignored."""
    queue.enqueue(operation())
    mine = queue.claim("acme", TOUCH)
    with Queue(queue.path, clock=clock, known_secrets=list) as other:
        clock.advance(queue.lease)
        assert other.claim("acme", TOUCH) is None
        clock.advance(1)
        theirs = other.claim("acme", TOUCH)
        assert (False, True) == (mine.is_doubtful, theirs.is_doubtful)
        assert (False, False) == (queue.settle(mine, Done()), queue.renew(mine))
        assert other.settle(theirs, Done())


def test_renewed_lease_holds(queue, clock):
    """A claim that is renewed stays, however long it takes."""
    queue.enqueue(operation())
    mine = queue.claim("acme", TOUCH)
    for _ in range(10):
        clock.advance(queue.lease - 1)
        assert queue.renew(mine)
        assert queue.claim("acme", TOUCH) is None
    assert queue.settle(mine, Done())


def test_own_second_claim_is_not_the_first(queue, clock):
    """One process that lost a claim and took it again cannot settle it with the outcome of the first attempt."""
    queue.enqueue(operation())
    first = queue.claim("acme", TOUCH)
    clock.advance(queue.lease + 1)
    second = queue.claim("acme", TOUCH)

    assert (False, True) == (queue.settle(first, Done()), queue.settle(second, Dead("no")))


def test_clock_that_was_set_back(queue, clock):
    """A lease that would hold until a far future ends now."""
    queue.enqueue(operation())
    clock.advance(86400)
    queue.claim("acme", TOUCH)
    clock.advance(-86400)

    assert ["one"] == drained(queue)


def test_expiry(queue, clock):
    """What waits too long is given up, with the reason that it waited for; what is being done is not."""
    queue.enqueue_all([operation("a", lifetime=100), operation("b", lifetime=100), operation("c")])
    queue.settle(queue.claim("acme", TOUCH), Again("busy"))
    claimed = queue.claim("acme", TOUCH, only=2)
    clock.advance(50)
    assert queue.renew(claimed)
    clock.advance(50)
    queue.sweep()

    assert [State.DEAD, State.RUNNING, State.WAITING] == [each.state for each in queue.operations()]
    assert "expired; before that: busy" == queue.operation(1).reason


def test_retry_of_the_dead(queue, clock):
    """A dead operation waits again, without its failures and with its whole lifetime."""
    queue.enqueue(operation(lifetime=100))
    queue.settle(queue.claim("acme", TOUCH), Again("a fault", is_fault=True))
    clock.advance(100)
    queue.sweep()
    clock.advance(5)
    retried = queue.retry(1)

    assert (State.WAITING, 0, None) == (retried.state, retried.failures, retried.finished)
    assert clock() + 100 == retried.expires.timestamp()
    assert ["one"] == drained(queue)


@pytest.mark.parametrize("decision", ["retry", "drop", "confirm"])
def test_what_is_being_done_is_left_alone(queue, decision):
    """The user decides about it when it is over."""
    queue.enqueue(operation())
    queue.claim("acme", TOUCH)

    with pytest.raises(InvalidConfig, match="operation 1 is being carried out now"):
        getattr(queue, decision)(1)


def test_unknown_operation(queue):
    """It is said, with where to look."""
    with pytest.raises(OperationNotFound, match="there is no operation 7 in the queue"):
        queue.drop(7)


def test_numbers_are_never_used_again(queue):
    """A number that somebody has seen cannot come to mean something else."""
    queue.enqueue(operation("a"))
    queue.drop(1)

    assert 2 == queue.enqueue(operation("b")).number


def test_unreachable_connector_is_left_alone(queue, clock):
    """For longer after each failure in a row; from the first success on it is as if nothing had been."""
    queue.enqueue(operation())
    for failures in (1, 2):
        queue.pause("acme", lambda count: 10.0 * count, "no route")
        assert [(failures, "no route")] == [(pause.failures, pause.reason) for pause in queue.pauses()]
        clock.advance(10 * failures - 1)
        assert [] == queue.due()
        clock.advance(1)
        assert ["acme"] == queue.due()
    queue.unpause("acme")
    assert [] == queue.pauses()


def test_kinds_that_are_not_known(queue):
    """An operation of another program's kind waits for that program."""
    queue.enqueue_all([operation("theirs", kind="other"), operation("ours")])

    assert ["ours"] == drained(queue)
    assert ["acme"] == queue.due()
    assert [] == queue.due(TOUCH)


def test_forgotten(queue, clock):
    """What is done is remembered as long as anything of its stream is younger."""
    queue.enqueue_all([operation("start", stream="run"), operation("alone")])
    queue.enqueue(operation("theirs", stream="run", connector="other"))
    assert [["start", "alone"], ["theirs"]] == [drained(queue), drained(queue, "other")]
    clock.advance(MEMORY - 10)
    queue.enqueue(operation("late", stream="run"))
    clock.advance(20)
    queue.sweep()
    assert ["start", "late"] == keys(queue.operations())

    drained(queue)
    clock.advance(MEMORY + 1)
    queue.sweep()
    assert [] == queue.operations()


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("payload.metadata.note", {"payload": {"metadata": {"note": "key hunter22!"}}}),
        (r"payload.list\[1\]", {"payload": {"list": ["a", "hunter22"]}}),
        (r"payload.\*\*\*", {"payload": {"hunter22": 1}}),
        ("key", {"key": "hunter22", "stream": "s"}),
        ("stream", {"stream": "hunter22"}),
        ("payload.url", {"payload": {"url": "https://x?key=sl%2Fash%2By"}}),
    ],
)
def test_no_secret_comes_in(queue, place, changes):
    """A payload with a secret is refused with the place, and nothing of it is on the disk."""
    with pytest.raises(InvalidConfig, match=f"a touch for acme cannot be queued: {place} holds a secret") as caught:
        queue.enqueue(operation(**changes))

    assert "hunter22" not in str(caught.value)
    assert [] == queue.operations()


def test_secrets_in_use_are_known(queue):
    """What this process has gathered is a secret, too."""
    secret = Secret("gathered-a-moment-ago")
    hold([secret])

    with pytest.raises(InvalidConfig, match="holds a secret"):
        queue.enqueue(operation(payload={"note": "gathered-a-moment-ago"}))


def test_no_secret_in_reasons(queue):
    """What a platform says is masked before it is written down."""
    queue.enqueue_all([operation("a"), operation("b")])
    queue.settle(queue.claim("acme", TOUCH), Again("hunter22 is wrong", delay=9))
    queue.settle(queue.claim("acme", TOUCH), Dead("hunter22 is wrong"))
    queue.pause("acme", lambda _: 1.0, "hunter22 is wrong")

    assert ["*** is wrong"] * 3 == [*(each.reason for each in queue.operations()), queue.pauses()[0].reason]
    files = list(queue.path.parent.iterdir())
    assert 3 == len(files)
    assert not any(b"hunter22" in file.read_bytes() for file in files)


def test_private_from_the_first_moment(tmp_path):
    """Nobody but its owner reads it, nor what SQLite puts beside it."""
    old = os.umask(0)
    try:
        with Queue(tmp_path / "new" / "queue.sqlite3", known_secrets=list) as queue:
            queue.enqueue(operation())
            assert {0o600} == {file.stat().st_mode & 0o777 for file in queue.path.parent.iterdir()}
            assert 0o700 == queue.path.parent.stat().st_mode & 0o777
    finally:
        os.umask(old)


def test_every_commit_is_on_the_disk(queue):
    """WAL with synchronous FULL: a commit outlives the machine."""
    assert [(2,)] == queue._db.execute("PRAGMA synchronous").fetchall()
    assert [("wal",)] == queue._db.execute("PRAGMA journal_mode").fetchall()


def test_many_processes(tmp_path):
    """Processes that fill and empty it at once: each operation is claimed by one of them."""
    program = (
        "import json, sys; from pathlib import Path\n"
        "from peft_studio.queue import Done, NewOperation, Queue\n"
        "queue, mine, keys = Queue(Path(sys.argv[1]), known_secrets=list), sys.argv[2], []\n"
        "for n in range(25):\n"
        "    queue.enqueue(NewOperation(kind='touch', connector='acme', key=f'{mine}-{n}', stream=f'{mine}-{n}'))\n"
        "    claimed = queue.claim('acme', ['touch'])\n"
        "    if claimed: keys.append(claimed.key); queue.settle(claimed, Done())\n"
        "print(json.dumps(keys))\n"
    )
    path = tmp_path / "new" / "queue.sqlite3"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, path, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    claimed = [key for process in processes for key in json.loads(process.communicate()[0])]

    assert [0, 0, 0, 0] == [process.returncode for process in processes]
    assert 100 == len(claimed) == len(set(claimed))


@pytest.mark.parametrize("kind", [lambda path: Queue(path, known_secrets=list), Ledger], ids=["queue", "ledger"])
def test_made_by_many_at_once(tmp_path, kind):
    """A new file that many open at the same moment is made once, and all of them can use it."""

    def make(path, barrier):
        barrier.wait()
        kind(path).close()

    for number in range(20):
        barrier = threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(make, tmp_path / f"{number}.sqlite3", barrier) for _ in range(8)]
        assert [None] * 8 == [each.result() for each in made]


def test_not_a_queue(tmp_path):
    """A file that is something else is refused by name and left as it is."""
    path = tmp_path / "queue.sqlite3"
    path.write_bytes(b"not a database, certainly not one" * 100)

    with pytest.raises(PeftStudioError, match="cannot be used: file is not a database"):
        Queue(path)
    assert path.read_bytes().startswith(b"not a database")


def test_newer_queue(tmp_path):
    """A queue of a newer version is not touched."""
    path = tmp_path / "queue.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(PeftStudioError, match="was written by a newer peft-studio"):
        Queue(path)


def test_backoff():
    """Twice as long each time, up to a limit, shortened by up to a half."""
    assert [2.0, 4.0, 8.0] == [backoff(failures, lambda: 1.0) for failures in (1, 2, 3)]
    assert [1.0, LONGEST / 2] == [backoff(1, lambda: 0.0), backoff(10_000, lambda: 0.0)]
