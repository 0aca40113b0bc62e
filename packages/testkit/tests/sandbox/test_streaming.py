"""Log streams that can be taken up again, and files that can be had in parts."""

from __future__ import annotations

import hashlib
import threading

import pytest
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from peft_studio.models import JobStatus
from peft_studio_testkit.sandbox.streaming import json_line, line_events, line_text, numbered_lines


@pytest.fixture
def job(sandbox):
    """A job of four lines that runs for four seconds."""
    return sandbox.jobs.add(pending_seconds=0, running_seconds=4, lines=["a", "b\nc", "ü", "d"])


async def _read(response) -> str:
    return "".join([block.decode() async for block in response.body_iterator])


def _asking(**headers: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": Headers(headers).raw})


def test_lines_come_while_the_job_runs(sandbox, client, job):
    """Each line is there when its moment has come; the stream ends with the job and says how."""
    got = []

    def follow() -> None:
        with client.stream("GET", f"/v1/jobs/{job.id}/logs") as response:
            assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
            for line in response.iter_lines():
                got.append(line)
                arrived.set()

    arrived = threading.Event()
    follower = threading.Thread(target=follow)
    follower.start()
    for _ in range(5):
        assert arrived.wait(30)
        arrived.clear()
        sandbox.advance(1)
    follower.join(30)
    assert ["id: 1", "data: a", "", "id: 2", "data: b", "data: c", "", "id: 3", "data: ü", ""] == got[:10]
    assert ["id: 4", "data: d", "", "event: end", "data: completed", ""] == got[10:]


def test_a_stream_is_taken_up_after_the_last_event(sandbox, client, job):
    """Last-Event-ID skips what was had; a senseless one skips nothing."""
    sandbox.advance(9)
    rest = client.get(f"/v1/jobs/{job.id}/logs", headers={"last-event-id": "3"}).text
    assert "id: 4\ndata: d\n\nevent: end\ndata: completed\n\n" == rest
    assert client.get(f"/v1/jobs/{job.id}/logs", headers={"last-event-id": "x"}).text.startswith("id: 1\n")
    assert (
        "event: end\ndata: completed\n\n" == client.get(f"/v1/jobs/{job.id}/logs", headers={"last-event-id": "99"}).text
    )


def test_a_stream_ends_when_the_job_is_cancelled(sandbox, client, job):
    """Somebody else cancels: who follows is told and let go."""
    texts = []
    follower = threading.Thread(target=lambda: texts.append(client.get(f"/v1/jobs/{job.id}/logs").text))
    follower.start()
    while not sandbox.requests:
        pass
    job.cancel()
    follower.join(30)
    assert ["id: 1\ndata: a\n\nevent: end\ndata: cancelled\n\n"] == texts


async def test_the_payload_and_the_end_can_be_other(sandbox, job):
    """A platform's own shapes: JSON in the data, no event at the end."""
    sandbox.advance(9)
    text = await _read(line_events(_asking(), sandbox.clock, job, data=json_line, end_event=None))
    assert 'id: 3\ndata: {"message": "ü"}\n\nid: 4\ndata: {"message": "d"}\n\n' == text[text.index("id: 3") :]


async def test_the_last_lines_are_not_lost(sandbox):
    """A job that writes its last line and ends between two looks of a reader."""

    class Ending:
        """Ends at the moment in which its lines are read for the first time."""

        status, written = JobStatus.RUNNING, ["last"]

        @property
        def lines(self):
            before = [] if self.status is JobStatus.RUNNING else self.written
            self.status = JobStatus.COMPLETED
            return before

    assert ["last"] == [line async for _, line in numbered_lines(sandbox.clock, Ending())]


async def test_plain_text(sandbox, job):
    """Lines as they are, after a number where one is given."""
    sandbox.advance(9)
    assert "a\nb\nc\nü\nd\n" == await _read(line_text(sandbox.clock, job))
    assert "ü\nd\n" == await _read(line_text(sandbox.clock, job, after=2))


@pytest.fixture
def address(sandbox, client):
    """Where a finished job's file of 3 MB is."""
    sandbox.script(files={"weights.bin": 3_000_000})
    job = sandbox.jobs.add()
    sandbox.advance_until(job.id, JobStatus.COMPLETED)
    return f"/v1/jobs/{job.id}/files/weights.bin"


def test_a_file_says_what_it_is(client, address):
    """Its length, its sha256 as the ETag, and that parts can be had."""
    answer = client.get(address)
    assert f'"{hashlib.sha256(answer.content).hexdigest()}"' == answer.headers["etag"]
    assert ("3000000", "bytes") == (answer.headers["content-length"], answer.headers["accept-ranges"])


@pytest.mark.parametrize(
    ("asked", "start", "end"), [("bytes=1000-1999", 1000, 2000), ("bytes=2999000-", 2999000, 3000000)]
)
def test_a_part_of_a_file(client, address, asked, start, end):
    """206 with the place of the part."""
    whole = client.get(address).content
    answer = client.get(address, headers={"range": asked})
    assert (206, whole[start:end]) == (answer.status_code, answer.content)
    assert f"bytes {start}-{end - 1}/3000000" == answer.headers["content-range"]


def test_a_part_of_the_file_that_was_begun(client, address):
    """If-Range: the part while it is the same file, else the whole."""
    etag = client.get(address).headers["etag"]
    same = client.get(address, headers={"range": "bytes=10-", "if-range": etag})
    other = client.get(address, headers={"range": "bytes=10-", "if-range": '"other"'})
    assert (206, 2999990, 200, 3000000) == (
        same.status_code, len(same.content), other.status_code, len(other.content),
    )  # fmt: skip


def test_a_part_that_is_not_there(client, address):
    """416 with the size."""
    answer = client.get(address, headers={"range": "bytes=3000000-"})
    assert (416, "bytes */3000000") == (answer.status_code, answer.headers["content-range"])


def test_the_head_alone(client, address):
    """HEAD tells the same and sends nothing."""
    answer = client.head(address)
    assert (200, "3000000", b"") == (answer.status_code, answer.headers["content-length"], answer.content)
