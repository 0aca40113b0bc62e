"""The log of a pod's start: every line once, whatever becomes of the stream, and no longer than the pod lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from peft_studio import InvalidCredentials, PlatformError
from peft_studio.transport import ServerSentEvent
from peft_studio_runpod.api import RunpodApi
from peft_studio_runpod.pod_log import PodLog
from peft_studio_runpod.settings import Settings
from peft_studio_testkit.sandbox.received import Received

LOGS = r"/logs$"


@pytest.fixture
def pod(rent, eventually):
    """It has written three lines, of which two are equal."""
    pod = rent("echo one; echo two; echo two; sleep 60")
    eventually(lambda: len(pod.log.container_lines) == 3)
    return pod


@pytest.fixture
def log(connector) -> Callable[..., PodLog]:
    """The log of a pod, without long pauses."""
    return lambda pod: PodLog(connector._api, pod.id, pause=0.0001)


def asked(sandbox) -> list[Received]:
    """The requests for logs."""
    return [each for each in sandbox.requests if each.path.endswith("/logs")]


async def until(lines: AsyncIterator[str], last: str) -> list[str]:
    """Lines up to that one."""
    found = []
    async with asyncio.timeout(10):
        async for line in lines:
            found.append(line)
            if line == last:
                break
    return found


async def test_every_line_comes_as_it_is_written(connector, pod):
    """From the first, the platform's own among them, as the connector gives them."""
    async with aclosing(connector.boot_log(pod.id)) as lines:
        start = f"start container for {pod.id}: begin"
        assert ["create container demo:1", start, "one", "two"] == await until(lines, "two")
        pod.log.add("container", "  three ü ")
        assert ["two", "  three ü "] == await until(lines, "  three ü ")


async def test_silence_is_no_end(sandbox, rent, eventually, monkeypatch):
    """RunPod sends not even headers before there is a line; connections that say nothing are made anew."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_TIMEOUT", "0.1")
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(sandbox.folder / "home"))
    pod = rent()
    eventually(lambda: len(pod.log.lines) == 2)
    pod.log.rotate()
    api = RunpodApi(sandbox.key, Settings.of(sandbox.credentials()))
    async with aclosing(PodLog(api, pod.id, pause=0.001).lines()) as lines:
        reader = asyncio.ensure_future(until(lines, "at last"))
        await asyncio.to_thread(eventually, lambda: len(asked(sandbox)) >= 3)
        pod.log.add("container", "at last")
        assert ["at last"] == await reader
    await api.close()


async def test_young_pods_may_refuse_at_first(sandbox, pod, log):
    """400 now and then, and edges that answer for RunPod; then the log is there, from its first line."""
    sandbox.faults.add("status", path=LOGS, code=400, body='{"detail": "not yet"}', times=2)
    sandbox.edge_error(1010, path=LOGS)
    sandbox.edge_error(502, path=LOGS)
    async with aclosing(log(pod).lines()) as lines:
        assert "one" == (await until(lines, "one"))[-1]


async def test_a_lost_connection_loses_and_repeats_nothing(sandbox, pod, log):
    """It goes on after the last line, also when two lines are equal."""
    sandbox.faults.add("drop_after", path=LOGS, times=3, events=1)
    async with aclosing(log(pod).lines()) as lines:
        pod.log.add("container", "end")
        assert ["one", "two", "two", "end"] == (await until(lines, "end"))[2:]


async def test_a_stale_cursor_is_no_end(sandbox, pod, log):
    """RunPod refuses it: it is asked by time, and what comes twice is left out, be it as old as the last line."""
    sandbox.faults.add("drop_after", path=LOGS, events=5)
    sandbox.faults.add("status", path=LOGS, code=400, body='{"detail": "invalid Last-Event-ID"}')
    async with aclosing(log(pod).lines()) as lines:
        pod.log.add("container", "end")
        assert ["one", "two", "two", "end"] == (await until(lines, "end"))[2:]
    assert ("since", pod.log.lines[2].at) in asked(sandbox)[-1].query


class Disorder:
    """In place of `RunpodApi`: the newest line comes before an older one, then the cursor is stale."""

    def __init__(self) -> None:
        newest, older = self._event(5, "newest"), self._event(4, "older")
        self._answers = [[newest, older], None, [older, newest, self._event(6, "end")]]

    def _event(self, second: int, line: str) -> ServerSentEvent:
        at = f"2026-06-01T12:00:0{second}Z"
        return ServerSentEvent(event="message", data=json.dumps({"ts": at, "line": line}), id=f"{at}/{line}")

    async def log(self, id: str, query: object, cursor: str | None) -> AsyncIterator[ServerSentEvent]:
        answer = self._answers.pop(0)
        if answer is None:
            raise PlatformError("invalid Last-Event-ID")
        for event in answer:
            yield event


async def test_lines_out_of_their_order_come_once():
    """RunPod promises no order between the container's lines and its own: the last that came need not be the newest."""
    assert ["newest", "older", "end"] == await until(PodLog(Disorder(), "pod-1", pause=0.0001).lines(), "end")


async def test_a_log_of_which_the_beginning_is_gone_goes_on(sandbox, pod, log):
    """RunPod keeps so many lines; those of before are not known any more, and neither is the cursor."""
    sandbox.faults.add("drop_after", path=LOGS, events=5)
    async with aclosing(log(pod).lines()) as lines:
        assert [await anext(lines) for _ in range(5)][2:] == ["one", "two", "two"]
        pod.log.rotate()
        pod.log.add("container", "new")
        assert ["new"] == await until(lines, "new")


async def test_the_log_ends_with_its_pod(sandbox, connector, pod, log):
    """RunPod has no log of what is deleted."""
    await connector.end_machine(pod.id)
    assert [] == [line async for line in log(pod).lines()]


async def test_a_log_that_is_refused_for_good_is_an_error(sandbox, pod, log):
    """In RunPod's words, after a while."""
    fault = sandbox.faults.add("status", path=LOGS, code=400, body='{"detail": "no log here"}', times=None)
    with pytest.raises(PlatformError, match="no log here"):
        await until(log(pod).lines(), "never")
    assert 13 == fault.hits


async def test_a_key_without_the_right_to_logs_is_told_at_once(sandbox, pod, log):
    """It would not get it by asking again."""
    sandbox.account.forbid("GET", LOGS)
    with pytest.raises(InvalidCredentials) as caught:
        await until(log(pod).lines(), "never")
    assert "lacks the permission" in caught.value.remedy
