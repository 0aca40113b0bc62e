"""The log stream: silent until the first line, endless, resumed by cursor, gone with the pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest


def events(answer: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Id and data, as they come."""
    id = ""
    for line in answer.iter_lines():
        if line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            yield id, json.loads(line[6:])


def read(api: httpx2.Client, path: str, count: int, **given: Any) -> list[tuple[str, dict[str, Any]]]:
    """The first so many events of a stream."""
    with api.stream("GET", path, **given) as answer:
        assert answer.status_code == 200, answer.read()
        stream = events(answer)
        return [next(stream) for _ in range(count)]


@pytest.fixture
def pod(rent, eventually):
    """It has written three lines."""
    pod = rent("echo one; echo two; echo three; sleep 60")
    eventually(lambda: len(pod.log.container_lines) == 3)
    return pod


def test_lines_come_with_cursor_date_and_source(api, pod):
    """Both sources, oldest first, and headers that keep proxies from holding them back."""
    with api.stream("GET", f"/v2/pods/{pod.id}/logs") as answer:
        stream = events(answer)
        got = [next(stream) for _ in range(5)]
        headers = {name: answer.headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")}
    assert ["system", "system", *["container"] * 3] == [data["source"] for _, data in got]
    assert ["one", "two", "three"] == [data["line"] for _, data in got[2:]]
    assert all(id == f"{data['ts']}/{number:012d}" for number, (id, data) in enumerate(got, start=1))
    assert {"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"} == headers


def test_nothing_is_sent_before_the_first_line_not_even_headers(sandbox, api, wanted, eventually):
    """A read timeout before the headers is normal; when a line comes, so do they."""
    pod = sandbox.pods[api.post("/v2/pods", json=wanted("echo hello; sleep 60")).json()["id"]]
    path = f"/v2/pods/{pod.id}/logs?source=container"
    with pytest.raises(httpx2.ReadTimeout), api.stream("GET", path, timeout=0.3):
        pass
    sandbox.advance(5)
    assert ["hello"] == [data["line"] for _, data in read(api, path, 1)]


def test_the_stream_does_not_end_and_goes_on_with_what_comes(api, sandbox, rent, eventually):
    """The container ends and is started again: its lines are in the same stream."""
    pod = rent("echo round")
    with api.stream("GET", f"/v2/pods/{pod.id}/logs?source=container") as answer:
        stream = events(answer)
        first = next(stream)[1]["line"]
        eventually(lambda: pod.container.is_resting)
        sandbox.advance(5)
        assert ("round", "round") == (first, next(stream)[1]["line"])


@pytest.mark.parametrize(("tail", "expected"), [(1, "three"), (2, "two"), (5000, "one")])
def test_tail_is_the_number_of_lines_before(api, pod, tail, expected):
    """Of the chosen source."""
    ((_, data),) = read(api, f"/v2/pods/{pod.id}/logs?source=container&tail={tail}", 1)
    assert expected == data["line"]


@pytest.mark.parametrize("query", ["tail=5001", "tail=-1", "tail=x", "source=disk", "since=yesterday"])
def test_wrong_queries_are_refused(api, pod, query):
    """422."""
    assert 422 == api.get(f"/v2/pods/{pod.id}/logs?{query}").status_code


def test_a_cursor_beats_since_and_since_beats_tail(api, sandbox, rent, eventually):
    """Each resumes after or from its point."""
    pod = rent("echo one; sleep 60")
    eventually(lambda: pod.log.container_lines)
    sandbox.advance(60)
    pod.log.add("container", "two")
    pod.log.add("container", "three")
    lines = pod.log.lines
    path = f"/v2/pods/{pod.id}/logs"
    since = {"since": lines[-1].at, "tail": 0}
    assert ["two", "three"] == [data["line"] for _, data in read(api, path, 2, params=since)]
    ((_, data),) = read(api, path, 1, params=since, headers={"last-event-id": lines[-2].cursor})
    assert "three" == data["line"]


def test_a_stale_cursor_is_refused(api, pod):
    """400: the lines that it points at are no longer kept."""
    cursor = pod.log.lines[0].cursor
    pod.log.rotate()
    assert 400 == api.get(f"/v2/pods/{pod.id}/logs", headers={"last-event-id": cursor}).status_code


def test_a_client_that_leaves_before_the_first_line_leaves_nothing_behind(sandbox, api, wanted, eventually):
    """Its connection is closed on this side, too."""
    id = api.post("/v2/pods", json=wanted()).json()["id"]
    with pytest.raises(httpx2.ReadTimeout), api.stream("GET", f"/v2/pods/{id}/logs?source=container", timeout=0.3):
        pass
    eventually(lambda: sandbox.open_streams == 0)
