"""What a connector answers, raises and streams, made safe for whoever relies on it."""

from __future__ import annotations

import asyncio
import io
import re
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    JobEvent,
    Observed,
    PeftStudioError,
    PlatformError,
    hookimpl,
)
from peft_studio.session import Session

from .tutorial import KEY, LABEL, MyPlatformConnector, answering, failure, having, manager_of, raising

STATUSES = "the statuses are pending, running, paused, completed, failed, cancelled"
LOST = "the platform could not be asked"
FAILED = "get_job_status failed"


@pytest.mark.parametrize(
    ("connector", "method", "kind", "message"),
    [
        (having(get_job_status=answering("exploded")), "get_job_status", PlatformError, f"'exploded': {STATUSES}"),
        (having(get_job_status=answering(None)), "get_job_status", PlatformError, f"None: {STATUSES}"),
        (having(fetch_artifact=answering("a")), "fetch_artifact", PlatformError, "'a': it must answer bytes"),
        (having(cancel_job=answering(None)), "cancel_job", PlatformError, "None: it must answer bool"),
    ],
    ids=["status", "no status", "not bytes", "not bool"],
)
async def test_a_wrong_answer_is_refused(
    connector: Any, method: str, kind: type[PeftStudioError], message: str
) -> None:
    """Nothing is made of it; the sentence says what was answered and what must be."""
    error = await failure(connector, method, "job-1")

    assert isinstance(error, kind)
    assert f"{LABEL}: {method} answered {message}" == str(error)


@pytest.mark.parametrize(
    ("raised", "method", "kind", "message"),
    [
        (FileNotFoundError("not yet"), "fetch_artifact", ArtifactNotFound, "there is no artifact: not yet"),
        (RuntimeError("quota"), "get_job_status", PlatformError, "get_job_status failed: quota"),
        (OSError(113, "No route"), "get_job_status", ConnectionFailed, f"{LOST}: OSError: [Errno 113] No route"),
        (PermissionError(13, "no"), "get_job_status", PlatformError, f"{FAILED}: PermissionError: [Errno 13] no"),
        (ValueError("x"), "get_job_status", PlatformError, f"{FAILED}: ValueError: x"),
        (SystemExit(2), "get_job_status", PlatformError, f"{FAILED}: SystemExit: 2"),
    ],
    ids=["no artifact", "runtime", "no route", "no permission", "value", "exit"],
)
async def test_a_foreign_error_becomes_ours(
    raised: BaseException, method: str, kind: type[PeftStudioError], message: str
) -> None:
    """The sentence names the connector, what it was asked, and what it raised."""
    error = await failure(having(**{method: raising(raised)}), method, "job-1")

    assert isinstance(error, kind)
    assert f"{LABEL}: {message}" == str(error)
    assert raised is error.__cause__


async def test_a_network_failure_is_seen_through_its_wrapping() -> None:
    """HTTP libraries raise their own errors from the network's."""
    wrapped = Exception("request failed")
    wrapped.__cause__ = ConnectionRefusedError(111, "refused")
    error = await failure(having(get_job_status=raising(wrapped)), "get_job_status", "job-1")

    assert isinstance(error, ConnectionFailed)
    assert wrapped is error.__cause__


async def test_an_error_that_names_its_connector_keeps_the_name() -> None:
    """The label is filled in only where it is missing."""
    named = PlatformError("no", connector="somebody else")

    assert "somebody else: no" == str(await failure(having(get_job_status=raising(named)), "get_job_status", "job-1"))


async def test_cancellation_passes_through() -> None:
    """It is not an error of the connector."""
    async with manager_of(having(get_job_status=raising(asyncio.CancelledError()))) as manager:
        await manager.connect("myplatform", KEY)
        with pytest.raises(asyncio.CancelledError):
            await manager.get_job_status("myplatform", "job-1")


async def test_lines_become_events_and_the_end_is_one_too() -> None:
    """A reader resumes after the last number it has, without loss or repetition."""
    async with manager_of(having(get_job_status=answering("completed"))) as manager:
        await manager.connect("myplatform", KEY)
        events = [event async for event in manager.stream_events("myplatform", "job-1")]
        rest = [event.sequence async for event in manager.stream_events("myplatform", "job-1", after=2)]

    assert [(1, "log", "first"), (2, "log", "second"), (3, "state", None)] == [
        (event.sequence, event.type, event.data.get("message")) for event in events
    ]
    assert "completed" == events[-1].data["status"]
    assert [3] == rest


async def test_a_stream_that_broke_off_claims_no_end() -> None:
    """The last line came, and the job still runs."""
    async with manager_of() as manager:
        await manager.connect("myplatform", KEY)
        assert ["log", "log"] == [event.type async for event in manager.stream_events("myplatform", "job-1")]


async def test_a_connectors_own_events_are_passed_on_and_observed() -> None:
    """Observers see each event; one that fails is noted and stops nothing."""
    from datetime import UTC, datetime

    class Observer:
        seen: list[Any] = []  # noqa: RUF012

        @hookimpl
        def peft_studio_job_event(self, connector, event):
            self.seen.append((connector, event.sequence))

    class Failing:
        @hookimpl
        def peft_studio_job_event(self):
            raise RuntimeError("full")

    async def stream_events(self, job_id, after=0):
        for number in range(after + 1, 4):
            yield JobEvent(sequence=number, time=datetime.now(UTC), type="step", data={"step": number})

    async with manager_of(having(stream_events=stream_events), plugins=[Observer(), Failing()]) as manager:
        await manager.connect("myplatform", KEY)
        assert [2, 3] == [event.sequence async for event in manager.stream_events("myplatform", "job-1", after=1)]
        assert [("myplatform", 2), ("myplatform", 3)] == Observer.seen
        assert ["full", "full"] == [str(outcome.error) for outcome in manager.hook_failures]


async def test_a_reader_that_stops_closes_the_connectors_stream() -> None:
    """The connector's own clean-up runs at once, not when the garbage is collected."""
    closed = []

    async def stream_logs(self, job_id):
        try:
            while True:
                yield "line"
        finally:
            closed.append(True)

    async with manager_of(having(stream_logs=stream_logs)) as manager:
        await manager.connect("myplatform", KEY)
        stream = manager.stream_logs("myplatform", "job-1")
        assert "line" == await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert [True] == closed


async def test_a_stream_that_fails_in_the_middle_names_the_connector() -> None:
    """What came before it has been read."""

    async def stream_logs(self, job_id):
        yield "line"
        raise ConnectionResetError("gone")

    lines = []

    async def read(manager) -> None:
        async for line in manager.stream_logs("myplatform", "job-1"):
            lines.append(line)  # noqa: PERF401 -- a comprehension would lose what came before the failure

    async with manager_of(having(stream_logs=stream_logs)) as manager:
        await manager.connect("myplatform", KEY)
        with pytest.raises(ConnectionFailed, match="could not be asked: ConnectionResetError: gone"):
            await read(manager)

    assert ["line"] == lines


async def test_logs_may_come_from_a_coroutine() -> None:
    """And what is no stream at all is told."""

    async def lines():
        yield "line"

    async with manager_of(having(stream_logs=answering(lines()))) as manager:
        await manager.connect("myplatform", KEY)
        assert ["line"] == [line async for line in manager.stream_logs("myplatform", "job-1")]
    async with manager_of(having(stream_logs=answering(["line"]))) as manager:
        await manager.connect("myplatform", KEY)
        with pytest.raises(PlatformError, match="stream_logs answered list: it must be an async iterator"):
            await anext(manager.stream_logs("myplatform", "job-1"))


def tar_of(**files: bytes) -> bytes:
    """A tar archive with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


async def test_an_archive_is_unpacked_for_connectors_that_only_fetch(tmp_path: Path) -> None:
    """The folder appears complete, and nothing else beside it."""
    async with manager_of(having(fetch_artifact=answering(tar_of(weights=b"w")))) as manager:
        await manager.connect("myplatform", KEY)
        folder = await manager.download_artifact("myplatform", "job-1", tmp_path / "out" / "adapter")

    assert b"w" == (folder / "weights").read_bytes()
    assert [folder] == list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "data", [b"not an archive", tar_of(**{"../outside": b"x"})], ids=["no archive", "member outside"]
)
async def test_what_cannot_be_unpacked_leaves_nothing(data: bytes, tmp_path: Path) -> None:
    """Neither under the final name nor outside of it."""
    error = await failure(
        having(fetch_artifact=answering(data)), "download_artifact", "job-1", tmp_path / "out" / "adapter"
    )

    assert str(error).startswith(f"{LABEL}: the artifact cannot be unpacked: {len(data)} bytes arrived")
    assert [] == list((tmp_path / "out").iterdir())
    assert not (tmp_path / "outside").exists()


async def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Nothing that existed is lost."""
    (tmp_path / "kept").write_text("mine")
    error = await failure(having(fetch_artifact=answering(tar_of(a=b"b"))), "download_artifact", "job-1", tmp_path)

    assert isinstance(error, InvalidConfig)
    assert "mine" == (tmp_path / "kept").read_text()


async def test_what_a_connector_observed_is_read() -> None:
    """None where it does not listen; an error or an answer of another kind names the connector."""
    seen = Observed(at=datetime.now(UTC))
    connectors = (MyPlatformConnector, having(observed=property(lambda _: seen)), having(observed=None))

    def broken(_):
        raise KeyError("at")

    assert [None, seen, None] == [Session(connector, LABEL, KEY).observed() for connector in connectors]
    with pytest.raises(PlatformError, match=f"{re.escape(LABEL)}: observed failed: KeyError: 'at'"):
        Session(having(observed=property(broken)), LABEL, KEY).observed()
    with pytest.raises(PlatformError, match=r"observed answered {'at': 3}: it must answer .*Observed \| None"):
        Session(having(observed={"at": 3}), LABEL, KEY).observed()
