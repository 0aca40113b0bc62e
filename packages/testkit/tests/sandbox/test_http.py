"""The server: reset, keys, the log of requests, connections, limits, the second origin."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_testkit.sandbox import HttpSandbox


def test_reset_forgets_everything(sandbox, client, create):
    """Tables, requests, faults, limit and clock are as at the start; the address stays, the key does not."""
    create()
    url, key = sandbox.url, sandbox.key
    sandbox.models.add("m")
    sandbox.runs.add()
    sandbox.deployments.add("m")
    sandbox.script(fails="never used", files={"big": 5_000_000})
    sandbox.faults.add("status", code=500)
    sandbox.limit(1, 1)
    sandbox.advance(9)
    sandbox.reset()
    counts = [len(each) for each in (sandbox.jobs, sandbox.models, sandbox.runs, sandbox.deployments, sandbox.requests)]
    assert [0] * 5 == counts
    assert (url, 0) == (sandbox.url, sandbox.clock.now())
    assert key != sandbox.key
    assert ["example-adapter", "examples.jsonl"] == sorted(
        path.name for path in sandbox.folder.iterdir() if path.name != "big"
    )
    fresh = {"authorization": f"Bearer {sandbox.key}"}
    answers = [httpx2.get(f"{url}/v1/jobs", headers=fresh) for _ in range(2)]
    assert [200, 200] == [answer.status_code for answer in answers]
    assert "x-ratelimit-limit" not in answers[0].headers
    job = sandbox.jobs.add()
    sandbox.advance(100)
    assert "completed" == job.status


def test_reset_cuts_clients_that_are_still_there(sandbox, client):
    """Open connections are reset, and handlers that wait on the clock end with them."""
    with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as waiting:
        request = f"GET /v1/at/5 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {sandbox.key}\r\n\r\n"
        waiting.sendall(request.encode())
        _until(lambda: len(sandbox.requests) == 1)
        sandbox.reset()
        assert 0 == sandbox.open_connections
        waiting.settimeout(30)
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
    assert [] == sandbox.requests
    assert {} == sandbox.clock._waiting


def test_a_handler_wakes_from_another_thread(sandbox, client):
    """A request that waits on the clock is answered when the test lets the time pass."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.get("/v1/at/30").json()["now"]))
    asking.start()
    _until(lambda: len(sandbox.requests) == 1)
    sandbox.advance(29)
    assert asking.is_alive()
    sandbox.advance(1)
    asking.join(30)
    assert [30] == answers


def test_the_key_opens_and_revoke_closes(sandbox, client):
    """Without the key, and with one that was revoked, the answer is 401."""
    assert 401 == httpx2.get(f"{sandbox.url}/v1/jobs").status_code
    assert 200 == client.get("/v1/jobs").status_code
    sandbox.revoke()
    assert 401 == client.get("/v1/jobs").status_code
    again = {"authorization": f"Bearer {sandbox.credentials()['api_key']}"}
    assert 200 == client.get("/v1/jobs", headers=again).status_code


def test_requests_are_noted_whole(sandbox, client):
    """Method, path, query, headers, body, clock time, answer, and whether it was done."""
    sandbox.advance(3)
    client.post("/v1/jobs?a=1&a=2&b=", content=b'{"name": "\xc3\xbc"}', headers={"X-Mixed": "Case"})
    client.get("/v1/jobs/none")
    first, second = sandbox.requests
    assert ("POST", "/v1/jobs", [("a", "1"), ("a", "2"), ("b", "")]) == (first.method, first.path, first.query)
    assert ("Case", {"name": "ü"}, 14, 3) == (first.headers["x-mixed"], first.json(), first.size, first.at)
    assert (201, True, 404, False) == (first.status, first.commit, second.status, second.commit)


def test_a_body_that_nobody_reads_is_noted_too(sandbox):
    """Also what came with a wrong key."""
    httpx2.post(f"{sandbox.url}/v1/jobs", content=b"hello")
    assert (b"hello", 401, False) == (sandbox.requests[0].body, sandbox.requests[0].status, sandbox.requests[0].commit)


def test_a_large_body_is_kept_in_part_and_measured_whole(sandbox, client):
    """The first MiB is kept; the application still gets all of it."""
    document = b'{"filling": "' + b"x" * 3_000_000 + b'"}'
    assert 201 == client.post("/v1/jobs", content=document).status_code
    received = sandbox.requests[0]
    assert (document[: 1 << 20], len(document)) == (received.body, received.size)
    assert 3_000_000 == len(next(iter(sandbox.jobs.values())).received["filling"])


def test_open_connections_are_counted_at_any_moment(sandbox):
    """A connection counts from the connect to the close, and not a moment longer."""
    port = int(sandbox.url.rpartition(":")[2])
    counts = [sandbox.open_connections]
    for _ in range(20):
        one = socket.create_connection(("127.0.0.1", port))
        two = socket.create_connection(("127.0.0.1", port))
        counts.append(sandbox.open_connections)
        one.close()
        counts.append(sandbox.open_connections)
        two.close()
        counts.append(sandbox.open_connections)
    assert [0] + [2, 1, 0] * 20 == counts


def test_a_connection_of_a_waiting_request_counts(sandbox):
    """Also one whose request is being answered, until the client gives up."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    connection.request("GET", "/v1/at/5", headers={"authorization": f"Bearer {sandbox.key}"})
    _until(lambda: len(sandbox.requests) == 1)
    assert 1 == sandbox.open_connections
    connection.close()
    assert 0 == sandbox.open_connections


def test_a_limit_is_told_and_ends_with_its_window(sandbox, client):
    """Requests over the limit get 429 and the time to wait, on the platform's clock."""
    sandbox.limit(requests=2, seconds=10)
    answers = [client.get("/v1/jobs") for _ in range(3)]
    assert [200, 200, 429] == [answer.status_code for answer in answers]
    assert ["1", "0", "0"] == [answer.headers["x-ratelimit-remaining"] for answer in answers]
    assert ("2", "10", "10") == tuple(
        answers[2].headers[name] for name in ("x-ratelimit-limit", "x-ratelimit-reset", "retry-after")
    )
    sandbox.advance(9.5)
    assert "1" == client.get("/v1/jobs").headers["retry-after"]
    sandbox.advance(0.5)
    assert 200 == client.get("/v1/jobs").status_code


def test_the_second_origin_notes_what_arrives(sandbox):
    """It is another port, answers everything agreeably, and keeps its own log."""
    answer = httpx2.get(f"{sandbox.other_origin}/any/where?x=1", headers={"authorization": "Bearer leaked"})
    assert (200, {}) == (answer.status_code, answer.json())
    received = sandbox.other_requests[0]
    assert ("/any/where", "Bearer leaked") == (received.path, received.headers["authorization"])
    assert [] == sandbox.requests
    assert sandbox.url != sandbox.other_origin


def test_pages_hold_every_item_once(sandbox, client, create):
    """Following the cursor gives all items in order; a made-up cursor is refused."""
    ids = [create() for _ in range(7)]
    seen, cursor, sizes = [], None, []
    while True:
        page = client.get("/v1/jobs", params={} if cursor is None else {"cursor": cursor}).json()
        sizes.append(len(page["jobs"]))
        seen += page["jobs"]
        if (cursor := page["next"]) is None:
            break
    assert (ids, [3, 3, 1]) == (seen, sizes)
    for wrong in ("x", "Zm9v", "ünsinn"):
        assert 400 == client.get("/v1/jobs", params={"cursor": wrong}).status_code


def test_the_last_page_has_no_successor(sandbox, client, create):
    """Also when the items fill it."""
    for _ in range(sandbox.page_size):
        create()
    assert client.get("/v1/jobs").json()["next"] is None


def test_a_mistake_of_the_author_is_kept_and_told(sandbox, client, caplog):
    """An exception in a handler is a 500 to the client, and the exception to whoever tests."""
    assert 500 == client.get("/v1/bug").status_code
    assert ["an author's mistake"] == [str(error) for error in sandbox.errors]
    assert "GET /v1/bug" in caplog.text
    assert 200 == client.get("/v1/jobs").status_code


def test_answers_are_dated(sandbox, client):
    """Each answer has one Date header, close to now."""
    dates = client.get("/v1/jobs").headers.get_list("date")
    assert 1 == len(dates)
    assert abs(parsedate_to_datetime(dates[0]).timestamp() - time.time()) < 60


def test_a_port_can_be_chosen_and_is_free_afterwards():
    """The same port works again after stop; one that is taken is refused in a sentence."""
    with HttpSandbox() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(InvalidConfig, match=f"port {port} cannot be used"):
            HttpSandbox(port=port).start()
    with HttpSandbox(port=port) as again:
        assert f"http://127.0.0.1:{port}" == again.url


def test_stop_is_quick_and_twice_is_fine(acme):
    """Nothing stays: no thread, no folder; using it afterwards is told in a sentence."""
    sandbox = type(acme)()
    sandbox.start()
    folder = sandbox.folder
    httpx2.get(sandbox.url)
    sandbox.stop()
    sandbox.stop()
    assert not folder.exists()
    assert ["sandbox"] == [thread.name for thread in threading.enumerate() if thread.name == "sandbox"]
    for use in (lambda: sandbox.url, sandbox.reset, lambda: sandbox.folder):
        with pytest.raises(RuntimeError, match="AcmeSandbox is not started"):
            use()


def test_two_sandboxes_share_nothing(acme):
    """Each has its own key, tables and ports."""
    with type(acme)() as one, type(acme)() as two:
        one.jobs.add()
        assert (1, 0) == (len(one.jobs), len(two.jobs))
        assert one.key != two.key
        assert 4 == len({one.url, two.url, one.other_origin, two.other_origin})


def _until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail("it did not happen")
