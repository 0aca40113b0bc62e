"""When the client was here last: also when it vanished in the middle of a request."""

from __future__ import annotations

import time
from typing import Any

from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.problems import Gate
from peft_studio_worker.serving.settings import Settings
from peft_studio_worker.serving.visits import SILENCE, Visits
from peft_studio_worker.serving.watchdog import TearDown

from .conftest import TOKEN


async def test_an_open_request_counts_while_something_comes_of_it() -> None:
    """A connection that nobody closes would keep the machine, and its bill, alive for ever."""
    now, last = 1000.0, []
    visits = Visits(lambda: now)

    async def program(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now
        for pass_on in (receive, send):
            now += SILENCE
            last.append(visits.last)
            now += 10 * SILENCE
            last.append(visits.last)
            await pass_on(*([{}] if pass_on is send else []))
            last.append(visits.last)

    async def quiet(*_: Any) -> dict[str, Any]:
        return {}

    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    await Gate(program, TOKEN, visits)({"type": "http", "path": "/v1/job", "headers": headers}, quiet, quiet)

    began, received = 1000.0, 1000.0 + 11 * SILENCE
    sent = received + 11 * SILENCE
    assert [began + SILENCE, began + SILENCE, received, received + SILENCE, received + SILENCE, sent] == last
    now += 1
    assert sent == visits.last


def test_a_client_that_listens_is_there(make_worker) -> None:
    """A machine whose job has stopped waits while a request is open, and for `keep` seconds after its end."""
    now = time.time()
    worker = make_worker().finished("paused")
    machine = Machine(Settings(job_id="ps-job", token=TOKEN, root=worker.root, keep=20.0), lambda: now)

    with machine.visits.visit():
        now += 60
        assert None is machine._look()
    now += 19
    assert None is machine._look()
    now += 1
    assert TearDown("the job has stopped, and no client has come for 20 s") == machine._look()
