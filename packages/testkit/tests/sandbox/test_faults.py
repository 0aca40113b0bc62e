"""Every kind of fault, as two clients that have nothing in common see it."""

from __future__ import annotations

import http.client
import inspect
import json
import re
import socket
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import pytest

from peft_studio_testkit.sandbox.fault_kinds import KINDS

PATIENCE = 0.3


class Answer:
    """What a client got: a status, headers and a body, or the name of what went wrong on the way."""

    def __init__(self, status=None, headers=None, body=b"", error=None):
        self.status, self.headers, self.body, self.error = status, headers or {}, body, error


def by_standard_library(sandbox, method, path, timeout=30.0):
    """http.client, without any convenience."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sandbox.url.rpartition(":")[2]), timeout=timeout)
    try:
        body = b"{}" if method == "POST" else None
        connection.request(method, path, body=body, headers={"authorization": f"Bearer {sandbox.key}"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Answer(response.status, headers, response.read())
        except (OSError, http.client.IncompleteRead) as error:
            return Answer(response.status, headers, getattr(error, "partial", b""), _name(error))
    except OSError as error:
        return Answer(error=_name(error))
    finally:
        connection.close()


def by_httpx2(sandbox, method, path, timeout=30.0):
    """What core's transport is built on."""
    body, headers = b"", {"authorization": f"Bearer {sandbox.key}"}
    content = b"{}" if method == "POST" else None
    try:
        with httpx2.stream(
            method, f"{sandbox.url}{path}", headers=headers, content=content, timeout=timeout
        ) as response:
            try:
                for block in response.iter_raw():
                    body += block
            except httpx2.TransportError as error:
                return Answer(response.status_code, response.headers, body, _name(error))
            return Answer(response.status_code, response.headers, body)
    except httpx2.TransportError as error:
        return Answer(error=_name(error))


def _name(error):
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "timeout"
    if isinstance(error, ConnectionRefusedError | httpx2.ConnectError):
        return "refused"
    if isinstance(error, ConnectionResetError) or "reset by peer" in str(error):
        return "reset"
    if isinstance(error, http.client.IncompleteRead | httpx2.RemoteProtocolError):
        return "incomplete"
    raise error


@pytest.fixture(params=[by_standard_library, by_httpx2])
def ask(request, sandbox):
    """Asks the platform with one of the clients."""
    return lambda method="GET", path="/v1/jobs", **how: request.param(sandbox, method, path, **how)


def test_delay(sandbox, ask):
    """The answer comes after the delay, and is right."""
    sandbox.faults.add("delay", seconds=PATIENCE)
    began = time.monotonic()
    assert 200 == ask().status
    assert PATIENCE <= time.monotonic() - began


def test_timeout(sandbox, ask):
    """No answer comes, and nothing was done; with `commit` it was."""
    sandbox.faults.add("timeout")
    assert "timeout" == ask("POST", timeout=PATIENCE).error
    assert (0, False) == (len(sandbox.jobs), sandbox.requests[0].commit)
    sandbox.faults.add("timeout", commit=True)
    assert "timeout" == ask("POST", timeout=PATIENCE).error
    assert (1, True) == (len(sandbox.jobs), sandbox.requests[1].commit)


def test_refuse(sandbox, ask):
    """Nobody listens until it is cleared; the address stays the same."""
    url = sandbox.url
    sandbox.faults.add("refuse")
    assert ["refused", "refused"] == [ask().error, ask().error]
    sandbox.faults.clear()
    assert (200, url) == (ask().status, sandbox.url)


def test_refuse_ends_with_its_removal_and_with_a_reset(sandbox, ask):
    """Removing the fault, or resetting, opens the listener again."""
    sandbox.faults.remove(sandbox.faults.add("refuse"))
    assert 200 == ask().status
    sandbox.faults.add("refuse")
    sandbox.reset()
    assert 200 == ask().status


def test_refuse_cuts_connections_that_are_open(sandbox, client):
    """A client with a connection from before is cut too."""
    client.get("/v1/jobs")
    sandbox.faults.add("refuse")
    assert 0 == sandbox.open_connections
    with pytest.raises(httpx2.TransportError):
        client.get("/v1/jobs")


def test_reset_before(sandbox, ask):
    """A reset, and nothing was done."""
    sandbox.faults.add("reset_before")
    assert "reset" == ask("POST").error
    assert (0, False, None) == (len(sandbox.jobs), sandbox.requests[0].commit, sandbox.requests[0].status)


def test_reset_after(sandbox, ask):
    """A reset, and it was done."""
    sandbox.faults.add("reset_after")
    assert "reset" == ask("POST").error
    assert (1, True, None) == (len(sandbox.jobs), sandbox.requests[0].commit, sandbox.requests[0].status)


def test_a_reset_is_a_real_one(sandbox):
    """The client's system reports ECONNRESET: not an end of the stream."""
    sandbox.faults.add("reset_before")
    with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        (b"\x00", b"\x00", "application/octet-stream"),
        ("text", b"text", "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a": 1}', "application/json"),
    ],
)
def test_status(sandbox, ask, body, sent, kind):
    """The status, body and headers that were asked for; nothing was done."""
    sandbox.faults.add("status", code=429, body=body, headers={"Retry-After": "7"})
    answer = ask("POST")
    assert (429, sent, kind, "7", 0) == (
        answer.status, answer.body, answer.headers["content-type"], answer.headers["retry-after"], len(sandbox.jobs),
    )  # fmt: skip


def test_status_without_a_body_and_with_a_commit(sandbox, ask):
    """A reason is made up, so that there are words to repeat; `commit` does what was asked."""
    sandbox.faults.add("status", code=502, commit=True)
    answer = ask("POST")
    assert "told to answer 502" in json.loads(answer.body)["error"]["message"]
    assert (502, 1, True) == (answer.status, len(sandbox.jobs), sandbox.requests[0].commit)


def test_status_that_has_no_body(sandbox, ask):
    """204 comes without one."""
    sandbox.faults.add("status", code=204)
    answer = ask()
    assert (204, b"", None) == (answer.status, answer.body, answer.error)


def test_truncate(sandbox, ask):
    """Fewer bytes come than were promised; no reset."""
    sandbox.jobs.add(id="j")
    whole = ask().body
    sandbox.faults.add("truncate")
    answer = ask()
    assert ("incomplete", whole[: len(whole) // 2]) == (answer.error, answer.body)
    assert int(answer.headers["content-length"]) > len(answer.body)


def test_truncate_an_empty_answer(sandbox, ask):
    """Also an answer without a body is made to promise one."""
    sandbox.faults.add("truncate")
    assert "incomplete" == ask(path="/v1/empty").error


def test_cut_json(sandbox, ask):
    """A complete answer, and half a document."""
    whole = ask().body
    sandbox.faults.add("cut_json")
    answer = ask()
    assert (200, None, whole[: len(whole) // 2]) == (answer.status, answer.error, answer.body)
    with pytest.raises(ValueError):
        json.loads(answer.body)


def test_garbage(sandbox, ask):
    """Bytes that are neither JSON nor text, called JSON; what was asked was done."""
    sandbox.faults.add("garbage")
    answer = ask("POST")
    assert ("application/json", 1) == (answer.headers["content-type"], len(sandbox.jobs))
    with pytest.raises(UnicodeDecodeError):
        answer.body.decode()


def test_html(sandbox, ask):
    """A page of a proxy; the platform never heard of it."""
    sandbox.faults.add("html")
    answer = ask("POST")
    assert (200, "text/html; charset=utf-8", 0) == (answer.status, answer.headers["content-type"], len(sandbox.jobs))
    assert b"Sign in" in answer.body


def test_empty(sandbox, ask):
    """200 and nothing; what was asked was done."""
    sandbox.faults.add("empty")
    answer = ask("POST")
    assert (200, b"", "0", 1) == (answer.status, answer.body, answer.headers["content-length"], len(sandbox.jobs))


@pytest.mark.parametrize("body", [[], "text", None, 7, {"unexpected": []}])
def test_shape(sandbox, ask, body):
    """200 and another document."""
    sandbox.faults.add("shape", body=body)
    answer = ask("POST")
    assert (200, body, 1) == (answer.status, json.loads(answer.body), len(sandbox.jobs))


def test_garbage_empty_and_shape_can_come_from_a_proxy(sandbox, ask):
    """With `commit=False` nothing was done."""
    for kind, how in {"garbage": {}, "empty": {}, "shape": {"body": 1}}.items():
        sandbox.faults.add(kind, commit=False, **how)
        ask("POST")
    assert 0 == len(sandbox.jobs)


def test_extra_fields(sandbox, ask):
    """Objects have keys that nobody knows; all known ones are as they were."""
    sandbox.jobs.add(id="j")
    sandbox.faults.add("extra_fields")
    document = json.loads(ask().body)
    assert {"jobs", "next", "x_new"} == set(document)
    assert ["j"] == document["jobs"]


def test_extra_fields_deep_inside(sandbox, ask):
    """Also objects in lists in objects get them."""
    sandbox.faults.add("extra_fields", path="/v1/deep")
    assert [True, True] == ["x_new" in item for item in json.loads(ask(path="/v1/deep").body)["list"]]


def test_extra_fields_leave_other_content_alone(sandbox, ask):
    """What is no JSON stays as it is."""
    sandbox.faults.add("extra_fields")
    assert b"plain" == ask(path="/v1/plain").body


def test_redirect(sandbox, ask):
    """302 to the same path and query at the second origin; nothing was done."""
    sandbox.faults.add("redirect")
    answer = ask("POST", "/v1/jobs?a=b%20c")
    assert (302, f"{sandbox.other_origin}/v1/jobs?a=b%20c") == (answer.status, answer.headers["location"])
    assert 0 == len(sandbox.jobs)


def test_drop_after_bytes(sandbox, ask):
    """So many bytes arrive, then a reset."""
    whole = ask(path="/v1/big").body
    sandbox.faults.add("drop_after", bytes=700_000)
    answer = ask(path="/v1/big")
    assert "reset" == answer.error
    assert answer.body in (b"", whole[:700_000])  # http.client throws away what it had


def test_drop_after_bytes_of_a_client_that_keeps_them(sandbox):
    """Exactly so many arrive at a client that looks at each piece."""
    sandbox.faults.add("drop_after", bytes=700_001)
    answer = by_httpx2(sandbox, "GET", "/v1/big")
    assert (700_001, "reset") == (len(answer.body), answer.error)


def test_drop_after_nothing(sandbox, ask):
    """Unless told when, the reset comes right after the head."""
    sandbox.faults.add("drop_after")
    answer = ask()
    assert "reset" == answer.error
    assert b"" == answer.body


def test_drop_after_events(sandbox):
    """So many events arrive, then a reset; the job goes on."""
    job = sandbox.jobs.add(pending_seconds=0, running_seconds=4, lines=["a", "b", "c", "d"])
    sandbox.advance(4)
    sandbox.faults.add("drop_after", events=2)
    answer = by_httpx2(sandbox, "GET", f"/v1/jobs/{job.id}/logs")
    assert (b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", "reset") == (answer.body, answer.error)


def test_drop_after_events_that_come_together(sandbox):
    """Events are counted, not the pieces in which they are sent."""
    sandbox.faults.add("drop_after", events=2)
    answer = by_httpx2(sandbox, "GET", "/v1/together")
    assert (b"data: a\n\ndata: b\n\n", "reset") == (answer.body, answer.error)


def test_drop_after_events_of_a_whole_answer(sandbox):
    """An answer that tells its length is no stream of events: half of it arrives, or all where streams are meant."""
    sandbox.jobs.add(id="j" * 100)
    whole = by_httpx2(sandbox, "GET", "/v1/jobs").body
    sandbox.faults.add("drop_after", events=2)
    sandbox.faults.add("drop_after", events=2, streams_only=True)
    answer = by_httpx2(sandbox, "GET", "/v1/jobs")
    assert (whole[: len(whole) // 2], "reset") == (answer.body, answer.error)
    assert whole == by_httpx2(sandbox, "GET", "/v1/jobs").body


def test_half_open(sandbox):
    """After so many events nothing comes any more, and nothing ends."""
    job = sandbox.jobs.add(pending_seconds=0, running_seconds=4, lines=["a", "b", "c"])
    sandbox.advance(4)
    sandbox.faults.add("half_open", events=1)
    answer = by_httpx2(sandbox, "GET", f"/v1/jobs/{job.id}/logs", timeout=PATIENCE)
    assert (b"id: 1\ndata: a\n\n", "timeout", 0) == (answer.body, answer.error, sandbox.open_connections)


def test_drip(sandbox, ask):
    """The right bytes, at that pace."""
    sandbox.jobs.add(id="j" * 100)
    whole = ask().body
    sandbox.faults.add("drip", bytes_per_second=len(whole) / PATIENCE)
    began = time.monotonic()
    assert whole == ask().body
    assert PATIENCE * 0.8 <= time.monotonic() - began


def test_corrupt(sandbox, ask):
    """One byte differs, nothing else."""
    whole = ask(path="/v1/big")
    sandbox.faults.add("corrupt")
    answer = ask(path="/v1/big")
    assert 1 == sum(one != two for one, two in zip(whole.body, answer.body, strict=True))
    assert whole.headers["etag"] == answer.headers["etag"]


def test_alias(sandbox, ask):
    """The platform calls something by another name, and answers to it."""
    sandbox.jobs.add(id="j")
    sandbox.faults.add("alias", old="j", new="other", times=None)
    assert ["other"] == json.loads(ask().body)["jobs"]
    assert "other" == json.loads(ask(path="/v1/jobs/other").body)["id"]
    assert b"plain" == ask(path="/v1/plain").body


def test_skew(sandbox, ask):
    """The Date header is off by so much."""
    sandbox.faults.add("skew", seconds=-86400)
    skewed = parsedate_to_datetime(ask().headers["date"]).timestamp()
    assert 86400 == pytest.approx(time.time() - skewed, abs=60)


def test_only_matching_requests_are_struck(sandbox, ask):
    """Method and path decide; the path needs a match anywhere in it."""
    fault = sandbox.faults.add("status", "post", r"/jobs$", code=500)
    statuses = [ask("GET").status, ask("POST", "/v1/jobs/x").status, ask("POST").status, ask("POST").status]
    assert [200, 405, 500, 201] == statuses
    assert 1 == fault.hits


def test_times_and_after(sandbox, ask):
    """`after` lets some pass, `times` says how many are struck, None is all."""
    sandbox.faults.add("status", code=500, times=2, after=1)
    assert [200, 500, 500, 200] == [ask().status for _ in range(4)]
    sandbox.faults.add("status", code=503, times=None)
    assert [503] * 5 == [ask().status for _ in range(5)]
    sandbox.faults.clear()
    assert 200 == ask().status


def test_the_first_of_several_strikes(sandbox, ask):
    """Faults for the same request strike one after the other; the log says which."""
    sandbox.faults.add("status", code=500)
    sandbox.faults.add("html")
    assert [500, 200, 200] == [ask().status for _ in range(3)]
    assert ["status", "html", None] == [received.fault for received in sandbox.requests]


def test_a_removed_fault_strikes_no_more(sandbox, ask):
    """`remove` takes one away and leaves the others."""
    first = sandbox.faults.add("status", code=500)
    sandbox.faults.add("status", code=503)
    sandbox.faults.remove(first)
    assert [503, 200] == [ask().status, ask().status]


def test_mistakes_are_told_when_the_fault_is_added(sandbox):
    """An unknown kind, and arguments that a kind does not have, or lacks."""
    with pytest.raises(ValueError, match="there is no fault 'restet_before'; did you mean 'reset_before'"):
        sandbox.faults.add("restet_before")
    with pytest.raises(ValueError, match="the kinds are refuse, delay"):
        sandbox.faults.add("xyz")
    with pytest.raises(TypeError, match="secs"):
        sandbox.faults.add("delay", seconds=1, secs=1)
    with pytest.raises(TypeError, match="code"):
        sandbox.faults.add("status")
    with pytest.raises(ValueError, match="refuse closes the listener"):
        sandbox.faults.add("refuse", path="/v1")
    assert 200 == httpx2.get(f"{sandbox.url}/v1/jobs", headers={"authorization": f"Bearer {sandbox.key}"}).status_code


def test_every_kind_is_tested_here():
    """A new kind comes with its test."""
    tested = [name for name in globals() if name.startswith("test_")]
    assert [] == [kind for kind in KINDS if not any(name.startswith(f"test_{kind}") for name in tested)]


def test_every_kind_is_in_the_table_of_the_documentation():
    """With the arguments that it has, and what it does to the platform."""
    page = Path(__file__).parents[4] / "docs/reference/sandbox.md"
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|.*\| (yes|no) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"refuse", *KINDS} == {kind for kind, _, _ in rows}
    for kind, arguments, done in rows:
        names = list(inspect.signature(KINDS[kind]).parameters)[1:] if kind != "refuse" else []
        assert [] == [name for name in names if name not in arguments]
        if "commit" in names:
            assert ("yes" if inspect.signature(KINDS[kind]).parameters["commit"].default else "no") == done
