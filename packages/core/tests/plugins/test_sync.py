"""The facade for scripts and notebooks: plain calls, plain generators, any thread."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    ConnectorManager,
    Ledger,
    PeftStudioError,
    PlatformError,
    SyncConnectorManager,
    TrainingConfig,
)
from peft_studio.jobs import Jobs
from peft_studio.sync import SyncJobs

from .everything import CALLS, Everything
from .facade import having, loop_threads, manager_of, run

CORE = Path(__file__).parents[2]
CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")


@pytest.fixture(autouse=True)
def no_thread_stays() -> Any:
    """Every test closes what it opens."""
    yield
    assert [] == loop_threads()


# The same interface.


def test_the_facade_is_what_the_generator_writes() -> None:
    """Who changes the manager runs make_sync.py."""
    subprocess.run([sys.executable, CORE / "make_sync.py", "--check"], check=True)


def test_a_facade_that_differs_is_told(tmp_path: Path) -> None:
    """The check above can fail."""
    package = CORE / "src/peft_studio"
    for path in (CORE / "make_sync.py", package / "sync.py", *(package / "_sync").glob("*.py")):
        copy = tmp_path / path.relative_to(CORE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace('"""Models that match', '"""Others'))
    done = subprocess.run(
        [sys.executable, tmp_path / "make_sync.py", "--check"], check=False, capture_output=True, text=True
    )

    assert 1 == done.returncode
    assert "is not what make_sync.py writes: run it" in done.stderr


@pytest.mark.parametrize(("facade", "source"), [(SyncConnectorManager, ConnectorManager), (SyncJobs, Jobs)])
def test_every_method_is_there_with_its_arguments_and_its_docstring(facade: type, source: type) -> None:
    """And nothing that the async one does not have, but closing."""
    public = {name for name in dir(source) if not name.startswith("_")}
    instance = {"registry", "hook_failures", "close"} if facade is SyncConnectorManager else set()
    assert public | instance == {name for name in dir(facade) if not name.startswith("_")}
    for name in public - {"jobs"}:
        mine, theirs = getattr(facade, name), getattr(source, name)
        assert inspect.getdoc(theirs) == inspect.getdoc(mine)
        assert list(inspect.signature(theirs).parameters.values()) == list(inspect.signature(mine).parameters.values())
        assert not inspect.iscoroutinefunction(mine)
    assert inspect.signature(SyncConnectorManager) == inspect.signature(ConnectorManager)


@pytest.mark.parametrize("method", CALLS)
def test_a_call_gives_the_answer_itself(method: str) -> None:
    """Nothing to await."""
    arguments, expected = CALLS[method]
    with manager_of(Everything) as manager:
        manager.connect("everything")
        assert expected == getattr(manager, method)("everything", **arguments)


def test_lists_and_connections_are_the_managers_own() -> None:
    """What needs no platform is answered at once."""
    with manager_of(Everything, credentials={"everything": {"api_key": "k"}}) as manager:
        assert ["everything"] == [record.name for record in manager.list_connectors()]
        assert [] == loop_threads()
        manager.connect("everything")
        connector = manager.get_connector("everything")
        assert isinstance(connector, Everything)
        assert {"api_key": "k"} == connector.credentials
        assert manager.is_connected("everything")
        assert manager.registry.activate("everything") is Everything
        assert [] == list(manager.hook_failures)
    assert "disconnect" == connector.asked[-1][0]
    assert not manager.is_connected("everything")


def test_an_error_is_the_managers_own() -> None:
    """Of the same kind, with the same sentence; the caller's line is in its traceback."""

    async def search_models(self, query):
        raise RuntimeError("index is down")

    with manager_of(having(search_models=search_models)) as manager:
        with pytest.raises(ConnectionFailed, match="there is no connection to everything"):
            manager.search_models("everything", "x")
        manager.connect("everything")
        with pytest.raises(PlatformError, match=r"everything \(1.0\): search_models failed: index is down") as caught:
            manager.search_models("everything", "x")
    assert "test_sync.py" in str(caught.traceback[0].path)


def test_jobs_from_submission_to_artifact(tmp_path: Path) -> None:
    """What a script does: submit, follow, pull."""

    async def get_job_status(self, job_id):
        return "completed"

    async def download_artifact(self, job_id, destination):
        if job_id == "gone":
            raise ArtifactNotFound("gone")
        destination.mkdir()
        return destination

    connector = having(get_job_status=get_job_status, download_artifact=download_artifact)
    with Ledger(tmp_path / "ledger.sqlite3") as ledger, manager_of(connector, ledger=ledger) as manager:
        job = manager.jobs.submit("everything", CONFIG)
        events = list(manager.jobs.follow(job.id))
        assert ["first", "second", None] == [event.data.get("message") for event in events]
        assert [2, 3] == [event.sequence for event in manager.jobs.follow(job.id, after=1)]
        assert "completed" == manager.jobs.get(job.id).status
        assert [job.id] == [found.id for found in manager.jobs.list_jobs()]
        assert tmp_path / "adapter" == manager.jobs.pull(job.id, tmp_path / "adapter")


def test_a_ledger_that_the_manager_opened_is_closed_with_it(home: Path) -> None:
    """Also when nothing but the list of jobs was asked for."""
    with manager_of(Everything, ledger=None) as manager:
        assert [] == manager.jobs.list_jobs()
        jobs = manager.jobs
    with pytest.raises(PeftStudioError, match="this manager is closed"):
        jobs.list_jobs()
    assert not list((home / "data").glob("*-wal"))


# Streams.


def test_a_stream_is_a_plain_generator_and_makes_what_is_asked_for() -> None:
    """No line is fetched before somebody wants it."""
    made: list[int] = []

    async def stream_logs(self, job_id):
        for number in range(3):
            made.append(number)
            yield str(number)

    with manager_of(having(stream_logs=stream_logs)) as manager:
        manager.connect("everything")
        lines = manager.stream_logs("everything", "j-1")
        assert [] == made
        assert ("0", [0]) == (next(lines), made)
        assert (["1", "2"], [0, 1, 2]) == (list(lines), made)


def test_an_error_in_a_stream_comes_after_the_lines_before_it() -> None:
    """As it does for an async reader."""

    async def stream_logs(self, job_id):
        yield "first"
        raise TimeoutError("silence")

    with manager_of(having(stream_logs=stream_logs)) as manager:
        manager.connect("everything")
        lines = manager.stream_logs("everything", "j-1")
        assert "first" == next(lines)
        with pytest.raises(ConnectionFailed, match="silence"):
            next(lines)
        assert [] == list(lines)


class Endless(Everything):
    """A stream without end that says how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []

    async def stream_logs(self, job_id):
        try:
            async with asyncio.timeout(60):  # must be left in the task that entered it
                while True:
                    yield "line"
        finally:
            self.ended.append(job_id)


@pytest.mark.parametrize("how", ["break", "close", "forget"])
def test_a_reader_that_stops_closes_the_connectors_stream(how: str) -> None:
    """At once, and in the task that opened it."""
    with manager_of(Endless) as manager:
        manager.connect("everything")
        connector = manager.get_connector("everything")
        assert isinstance(connector, Endless)
        lines = manager.stream_logs("everything", "j-1")
        if how == "break":
            for _ in manager.stream_logs("everything", "j-1"):
                break
        elif how == "close":
            next(lines)
            lines.close()
        else:
            next(lines)
            del lines
        gc.collect()
        assert ["j-1"] == connector.ended


def test_a_reader_that_is_collected_in_the_loop_stops_nothing() -> None:
    """Garbage is collected in any thread, the manager's own included; that must not wait for itself."""
    forgotten: list[Any] = []

    async def search_models(self, query):
        forgotten.clear()
        gc.collect()
        return []

    class Forgetful(Endless):
        pass

    Forgetful.search_models = search_models  # type: ignore[method-assign]
    with manager_of(Forgetful) as manager:
        manager.connect("everything")
        forgotten.append(manager.stream_logs("everything", "j-1"))
        next(forgotten[0])
        assert [] == manager.search_models("everything", "x")
        assert manager.verify_connection("everything")
        connector = manager.get_connector("everything")
        assert isinstance(connector, Endless)
        assert ["j-1"] == connector.ended


# Loops and threads.


async def test_it_works_inside_a_running_loop() -> None:
    """As in a notebook: the cell's own loop runs, and the call returns a plain answer."""
    with manager_of(Everything) as manager:
        manager.connect("everything")
        assert ["first", "second"] == list(manager.stream_logs("everything", "j-1"))
        assert manager.verify_connection("everything")


def test_several_threads_share_one_manager() -> None:
    """Their calls run at the same time: each of these waits for all the others."""
    meeting: list[asyncio.Barrier] = []

    async def search_models(self, query):
        if not meeting:
            meeting.append(asyncio.Barrier(8))
        await meeting[0].wait()
        return []

    with manager_of(having(search_models=search_models)) as manager, ThreadPoolExecutor(8) as pool:
        assert 8 * [True] == list(pool.map(manager.connect, 8 * ["everything"]))
        assert 8 * [[]] == list(pool.map(lambda query: manager.search_models("everything", query), "abcdefgh"))
        assert 1 == len(loop_threads())


def test_its_own_loop_cannot_call_it() -> None:
    """A connector or hook that does would wait for itself; it is told instead, and nothing hangs."""
    managers: list[SyncConnectorManager] = []

    async def search_models(self, query):
        return managers[0].search_models("everything", query)

    with manager_of(having(search_models=search_models)) as manager:
        managers.append(manager)
        manager.connect("everything")
        with pytest.raises(PeftStudioError, match="cannot be called from its own event loop"):
            manager.search_models("everything", "x")


def test_a_forked_process_is_told_that_the_thread_stayed_behind() -> None:
    """It would wait for ever."""
    program = """
import os, sys
sys.path.insert(0, sys.argv[1])
from everything import Everything
from peft_studio import SyncConnectorManager

manager = SyncConnectorManager(connectors=[Everything], discover=False, ledger=False)
manager.connect("everything")
child = os.fork()
if child == 0:
    try:
        manager.verify_connection("everything")
    except Exception as error:
        print(error, flush=True)
    manager.close()
    os._exit(0)
os.waitpid(child, 0)
print(manager.verify_connection("everything"))
manager.close()
"""
    assert ["this manager was made in another process", "True"] == run(program)
