"""Logs over a websocket, and the faults that can strike one; the client is the package `websockets`."""

from __future__ import annotations

import time

import pytest
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from peft_studio_testkit.sandbox import HttpSandbox
from peft_studio_testkit.sandbox.streaming import line_messages

LINES = ["one", "", "三"]


class ChattySandbox(HttpSandbox):
    def routes(self):
        paths = {"/jobs/{id}/logs": self.logs, "/bug": self.bug, "/listen": self.listen}
        return [WebSocketRoute(path, handler) for path, handler in paths.items()]

    async def logs(self, websocket):
        job = self.jobs.get(websocket.path_params["id"])
        if job is None:
            await websocket.send_denial_response(JSONResponse(self.error_body("no such job"), status_code=404))
        else:
            await line_messages(websocket, self.clock, job)

    async def bug(self, websocket):
        raise ZeroDivisionError("an author's mistake")

    async def listen(self, websocket):
        await websocket.accept()
        await websocket.receive_text()


@pytest.fixture(scope="module")
def server():
    """One server for all tests."""
    with ChattySandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server):
    """The platform as if nothing had happened yet."""
    server.reset()
    return server


def opened(sandbox, path, key=None, **options):
    """A client."""
    headers = {"authorization": f"Bearer {key or sandbox.key}"}
    url = sandbox.url.replace("http", "ws") + path
    return connect(url, additional_headers=headers, close_timeout=1, **options)


def logs(job):
    """Where a job's log is read."""
    return f"/jobs/{job.id}/logs"


def seeded(sandbox):
    """A job that writes a line every ten seconds."""
    return sandbox.jobs.add(lines=LINES, pending_seconds=0, running_seconds=30)


def test_lines_come_when_the_job_writes_them(sandbox):
    """Each line is a message of its own at its time, and the websocket is closed in good order with the job."""
    with opened(sandbox, logs(seeded(sandbox))) as websocket:
        assert "one" == websocket.recv(timeout=30)
        with pytest.raises(TimeoutError):
            websocket.recv(timeout=0.05)
        sandbox.advance(30)
        assert LINES[1:] == list(websocket)
    assert 1000 == websocket.close_code


def test_a_client_that_leaves_ends_the_handler(sandbox):
    """Nothing goes on for a client that is gone, though the job does."""
    with opened(sandbox, logs(seeded(sandbox))) as websocket:
        websocket.recv(timeout=30)
        assert 1 == sandbox.open_streams
    _until(lambda: sandbox.open_streams == 0)
    assert (0, [], {}) == (sandbox.open_connections, sandbox.errors, sandbox.clock._waiting)


def test_a_client_may_leave_a_listening_handler(sandbox):
    """Going away while the handler listens is the client's decision, not a bug of the sandbox."""
    with opened(sandbox, "/listen"):
        pass
    _until(lambda: sandbox.requests[0].done)
    assert [] == sandbox.errors


def test_a_reset_cuts_it(sandbox, caplog):
    """The sandbox forgets open websockets too, and the server has nothing to complain about."""
    with opened(sandbox, logs(seeded(sandbox))) as websocket:
        websocket.recv(timeout=30)
        sandbox.reset()
        assert 0 == sandbox.open_connections
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=30)
    assert "" == caplog.text


def test_it_can_be_refused(sandbox, caplog):
    """A wrong key is 403, an unknown job what its handler says; the log of requests knows both."""
    for key, status in (("wrong", 403), (None, 404)):
        with pytest.raises(InvalidStatus) as caught:
            opened(sandbox, "/jobs/x/logs", key)
        assert status == caught.value.response.status_code
    assert b"no such job" in caught.value.response.body
    assert [("WEBSOCKET", 403, False), ("WEBSOCKET", 404, False)] == [
        (each.method, each.status, each.commit) for each in sandbox.requests
    ]
    assert "" == caplog.text


def test_a_mistake_of_the_author_is_kept(sandbox):
    """What a websocket's handler raises is a bug of the sandbox."""
    with pytest.raises(InvalidStatus):
        opened(sandbox, "/bug")
    assert ["an author's mistake"] == [str(error) for error in sandbox.errors]


def test_drop_after_messages(sandbox):
    """The connection is reset after so many messages, all of which have arrived."""
    sandbox.faults.add("drop_after", events=2)
    with opened(sandbox, logs(sandbox.jobs.add(status="completed", lines=LINES))) as websocket:
        assert LINES[:2] == [websocket.recv(timeout=30) for _ in range(2)]
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=30)
    assert (1006, True) == (websocket.close_code, sandbox.requests[0].commit)


def test_half_open_after_messages(sandbox):
    """Nothing comes any more, and the connection stays."""
    sandbox.faults.add("half_open", events=2)
    with opened(sandbox, logs(sandbox.jobs.add(status="completed", lines=LINES))) as websocket:
        assert LINES[:2] == [websocket.recv(timeout=30) for _ in range(2)]
        with pytest.raises(TimeoutError):
            websocket.recv(timeout=0.1)
        assert 1 == sandbox.open_connections
    _until(lambda: sandbox.open_streams == 0)


def test_the_handshake_can_be_answered_otherwise(sandbox):
    """A status, a page of a proxy, a way to another origin: the client is told so, and is not let in."""
    path = logs(seeded(sandbox))
    for kind, how, status in (("status", {"code": 503}, 503), ("html", {}, 200)):
        sandbox.faults.add(kind, **how)
        with pytest.raises(InvalidStatus) as caught:
            opened(sandbox, path)
        assert status == caught.value.response.status_code
    assert ["status", "html"] == [each.fault for each in sandbox.requests]


def test_the_handshake_can_be_reset(sandbox):
    """A reset comes in place of an answer."""
    sandbox.faults.add("reset_before")
    with pytest.raises((InvalidMessage, ConnectionResetError)):
        opened(sandbox, logs(seeded(sandbox)))


def test_the_handshake_can_be_left_unanswered(sandbox):
    """The client waits as long as it likes, and the handler ends when it gives up."""
    sandbox.faults.add("timeout")
    with pytest.raises(TimeoutError):
        opened(sandbox, logs(seeded(sandbox)), open_timeout=0.1)
    _until(lambda: sandbox.open_streams == 0)


def test_other_kinds_wait_for_a_request(sandbox):
    """A fault that changes the body of one answer lets a websocket pass, and does not count it."""
    fault = sandbox.faults.add("corrupt")
    with opened(sandbox, logs(sandbox.jobs.add(status="completed", lines=LINES))) as websocket:
        assert LINES == list(websocket)
    assert 0 == fault.hits


def _until(is_so):
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it did not become so within 30 s")
