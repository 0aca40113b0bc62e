"""What `Jobs` does for a job on a rented machine beside telling of it: money, data and truth, case by case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_studio import ConnectionFailed, ConnectorManager, InvalidConfig, JobStatus, PlatformError
from peft_studio.homes import home_of, kept_adapter
from peft_studio.ledger import JobRecord
from peft_studio.models import JobEvent
from peft_studio.reconcile import Reconciler
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_runpod.sandbox.pods import Pod

from .rented_life import FILES, LINES

PROXY = r"/proxy/"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunpodSandbox]:
    """Its pods pretend, a hundred times as fast as real ones."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    with RunpodSandbox(speed=100) as platform:
        platform.script(lines=LINES, files=FILES, running_seconds=20)
        yield platform


async def followed(manager: ConnectorManager, id: str) -> list[JobEvent]:
    """Everything that is shown until the job stops."""
    return [event async for event in manager.jobs.follow(id)]


async def running(manager: ConnectorManager, sandbox: RunpodSandbox) -> tuple[JobRecord, Pod]:
    """A job that runs for long, and its machine."""
    sandbox.script(lines=LINES, files=FILES, running_seconds=100_000)
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.advance_until(str(job.platform_id), JobStatus.RUNNING)
    (pod,) = sandbox.pods.values()
    return job, pod


async def test_a_job_that_was_never_fed_can_be_cancelled(sandbox, manager):
    """Its machine is ended, and the job is cancelled, not lost."""
    job = await manager.jobs.submit("runpod", sandbox.training_config(), feed=False)
    job = await manager.jobs.cancel(job.id)
    assert (JobStatus.CANCELLED, {}) == (job.status, sandbox.bills())


async def test_a_job_whose_data_are_gone_fails_and_costs_nothing_more(sandbox, manager, ledger, tmp_path):
    """They were there when it was submitted. The reason names the file."""
    data = tmp_path / "mine.jsonl"
    data.write_bytes((sandbox.folder / "examples.jsonl").read_bytes())
    job = await manager.jobs.submit("runpod", sandbox.training_config(dataset_path=str(data)), feed=False)
    data.unlink()
    with pytest.raises(InvalidConfig, match=r"mine\.jsonl"):
        await followed(manager, job.id)
    job = ledger.job(job.id)
    assert (JobStatus.FAILED, {}) == (job.status, sandbox.bills())
    assert "mine.jsonl" in str(job.reason)


async def test_a_machine_that_breaks_at_its_start_is_ended(sandbox, manager, ledger):
    """With the last of what the platform showed of it."""
    job = await manager.jobs.submit("runpod", sandbox.training_config(), feed=False)
    (pod,) = sandbox.pods.values()
    sandbox.pods.fail_pod(pod)
    with pytest.raises(PlatformError, match="the machine does not start: it is ERROR"):
        await followed(manager, job.id)
    assert (JobStatus.FAILED, {}) == (ledger.job(job.id).status, sandbox.bills())


async def test_a_dataset_that_is_missing_rents_nothing(sandbox, manager):
    """It is found out before."""
    with pytest.raises(InvalidConfig, match="nowhere"):
        await manager.jobs.submit("runpod", sandbox.training_config(dataset_path="/nowhere.jsonl"))
    assert [] == sandbox.pods.ever


async def test_the_start_is_told_and_not_kept(sandbox, manager, ledger):
    """Under the number 0; what the job says begins at 1."""
    job = await manager.jobs.submit("runpod", sandbox.training_config(), feed=False)
    events = await followed(manager, job.id)
    start = [event.data["message"] for event in events if event.sequence == 0]
    assert any(line.startswith("machine ") for line in start)
    assert any(line.startswith("uploaded ") for line in start)
    assert 1 == next(iter(ledger.events(job.id))).sequence
    assert all(event.data["source"] == "platform" for event in events if event.sequence == 0)


async def test_a_machine_whose_adapter_cannot_be_fetched_is_kept(sandbox, manager, ledger):
    """It costs, and is said to; once the adapter can be fetched it is ended."""
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    fault = sandbox.faults.add("status", "GET", r"/v1/artifact/.", code=503, times=None)
    await followed(manager, job.id)
    assert (JobStatus.COMPLETED, 1) == (ledger.job(job.id).status, len(sandbox.bills()))
    (kept,) = await manager.jobs.finish(job.id)
    assert not kept.is_gone
    assert "is kept, and costs, until the adapter is fetched" in kept.problems[-1]

    sandbox.faults.remove(fault)
    (ended,) = await manager.jobs.finish(job.id)
    assert (True, home_of(ledger.job(job.id)), {}) == (ended.is_gone, ended.saved, sandbox.bills())


async def test_a_folder_that_another_job_has_filled_costs_no_adapter(sandbox, manager, ledger, tmp_path):
    """Two jobs were told to bring theirs to the same place: the second one's goes to the data directory."""
    other = {**FILES, "adapter_config.json": b'{"peft_type": "LOHA"}'}
    config = sandbox.training_config(output_dir=str(tmp_path / "adapter"))
    jobs = [await manager.jobs.submit("runpod", config)]
    sandbox.script(lines=LINES, files=other, running_seconds=20)
    jobs.append(await manager.jobs.submit("runpod", config))
    for job in jobs:
        await followed(manager, job.id)
    first, second = (kept_adapter(ledger, ledger.job(job.id)) for job in jobs)
    assert ({}, tmp_path / "adapter") == (sandbox.bills(), first)
    assert second is not None
    assert other["adapter_config.json"] == (second / "adapter_config.json").read_bytes()
    await manager.jobs.pull(jobs[1].id, tmp_path / "copy")
    assert other["adapter_config.json"] == (tmp_path / "copy" / "adapter_config.json").read_bytes()


async def test_an_adapter_that_came_home_is_copied_from_there(sandbox, manager, tmp_path):
    """Its machine is long gone; nobody is asked."""
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    await followed(manager, job.id)
    assert {} == sandbox.bills()
    before = len(sandbox.requests)
    await manager.jobs.pull(job.id, tmp_path / "copy")
    assert FILES == {name: (tmp_path / "copy" / name).read_bytes() for name in FILES}
    assert before == len(sandbox.requests)


async def test_an_adapter_that_is_pulled_ends_its_machine(sandbox, manager, ledger, tmp_path):
    """Whoever has it needs the machine no more, and gets no second copy."""
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.advance_until(ledger.job(job.id).platform_id, JobStatus.COMPLETED)
    await manager.jobs.pull(job.id, tmp_path / "mine")
    assert {} == sandbox.bills()
    assert not home_of(ledger.job(job.id)).exists()


async def test_a_worker_that_falls_silent_tells_no_status(sandbox, manager, ledger):
    """The proxy says that nothing listens: the job stays running in the books, and is unreachable."""
    sandbox.script(lines=LINES, files=FILES, running_seconds=100_000)
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.advance_until(job.platform_id, JobStatus.RUNNING)
    assert JobStatus.RUNNING is (await manager.jobs.get(job.id)).status
    sandbox.edge_error(502, "GET", PROXY, times=None)
    silent = await manager.jobs.get(job.id)
    assert (JobStatus.RUNNING, False) == (silent.status, silent.reachable)
    with pytest.raises(ConnectionFailed):
        await followed(manager, job.id)
    sandbox.faults.clear()
    await manager.jobs.cancel(job.id)


async def test_a_job_that_its_machine_has_paused_stops_the_machine(sandbox, manager, ledger):
    """A limit was reached: whoever follows lets the GPUs go, and keeps the mount."""
    sandbox.script(lines=LINES, files=FILES, running_seconds=100_000)
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.advance_until(job.platform_id, JobStatus.RUNNING)
    sandbox.jobs[job.platform_id].pause()
    await followed(manager, job.id)
    (pod,) = sandbox.pods.values()
    assert (JobStatus.PAUSED, "EXITED") == (ledger.job(job.id).status, pod.status)
    await manager.jobs.cancel(job.id)
    assert {} == sandbox.bills()


async def test_what_a_job_costs_is_told(sandbox, manager, ledger):
    """The price while it runs, the sum when its machine is ended."""
    job = await manager.jobs.submit("runpod", sandbox.training_config(resource_id="RTX A5000"))
    assert 0.27 < job.hourly_rate < 0.3
    await followed(manager, job.id)
    cost = ledger.job(job.id).cost
    assert cost is not None
    assert 0 < cost < 0.1


async def test_a_machine_on_which_a_job_cannot_go_on_is_stopped_again(sandbox, manager, ledger):
    """It would cost the price of its GPUs for a job that stands still; another attempt may follow."""
    job, pod = await running(manager, sandbox)
    await manager.jobs.pause(job.id)
    sandbox.faults.add("status", "POST", "/v1/resume$", code=409, body='{"detail": "the deadline is near"}')
    with pytest.raises(PlatformError, match="the deadline is near"):
        await manager.jobs.resume(job.id)
    assert "EXITED" == pod.status
    await manager.jobs.resume(job.id)
    assert (JobStatus.RUNNING, "RUNNING") == (ledger.job(job.id).status, pod.status)
    await manager.jobs.cancel(job.id)


async def test_a_pause_that_broke_off_is_gone_on_with(sandbox, manager, ledger):
    """The job has paused and its machine has not stopped, which costs: reconcile stops it."""
    job, pod = await running(manager, sandbox)
    sandbox.faults.add("reset_before", "POST", r"/v2/pods/\w+/action$")
    with pytest.raises(ConnectionFailed):
        await manager.jobs.pause(job.id)
    assert "RUNNING" == pod.status
    await Reconciler(manager, ledger).reconcile(["runpod"])
    assert ("EXITED", []) == (pod.status, ledger.open_intents())
    await manager.jobs.cancel(job.id)


async def test_a_pause_that_broke_off_can_be_taken_back(sandbox, manager, ledger):
    """Whoever resumes the job has thought better of it."""
    job, pod = await running(manager, sandbox)
    sandbox.faults.add("reset_before", "POST", "/v1/stop$")
    with pytest.raises(ConnectionFailed):
        await manager.jobs.pause(job.id)
    assert ["pause"] == [intent.action for intent in ledger.open_intents()]
    await manager.jobs.resume(job.id)
    await Reconciler(manager, ledger).reconcile(["runpod"])
    assert ("RUNNING", JobStatus.RUNNING) == (pod.status, ledger.job(job.id).status)
    await manager.jobs.cancel(job.id)


async def test_a_pause_that_was_refused_is_not_tried_for_ever(sandbox, manager, ledger):
    """The platform has answered, and whoever asked has been told."""
    job, _ = await running(manager, sandbox)
    sandbox.faults.add("status", "POST", "/v1/stop$", code=409, body='{"detail": "it is about to end"}')
    with pytest.raises(PlatformError, match="about to end"):
        await manager.jobs.pause(job.id)
    assert [] == ledger.open_intents()
    await manager.jobs.cancel(job.id)


async def test_a_resume_that_is_given_up_leaves_no_machine_on(sandbox, manager):
    """Ctrl-C while the machine comes up: it is stopped again."""
    job, pod = await running(manager, sandbox)
    await manager.jobs.pause(job.id)
    sandbox.faults.add("timeout", "POST", "/v1/resume$")
    resuming = asyncio.create_task(manager.jobs.resume(job.id))
    while not sandbox.count("POST", "/v1/resume$"):  # noqa: ASYNC110 -- a sandbox tells nobody
        await asyncio.sleep(0.01)
    assert "RUNNING" == pod.status
    resuming.cancel()
    await asyncio.wait([resuming])
    assert "EXITED" == pod.status
    await manager.jobs.cancel(job.id)


async def test_a_machine_that_was_stopped_after_its_job_brings_the_adapter_home(sandbox, manager, ledger):
    """By the user's hand, or for want of credit, before anybody had fetched it: resumed, the job is completed."""
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.advance_until(job.platform_id, JobStatus.COMPLETED)
    (pod,) = sandbox.pods.values()
    sandbox.pods.stop_pod(pod)
    assert JobStatus.PAUSED is (await manager.jobs.get(job.id)).status
    assert JobStatus.COMPLETED is (await manager.jobs.resume(job.id)).status
    await manager.jobs.finish(job.id)
    assert FILES == {name: (home_of(ledger.job(job.id)) / name).read_bytes() for name in FILES}
    assert {} == sandbox.bills()


async def test_a_log_begins_while_the_worker_is_installed(sandbox, manager):
    """The machine runs, and nobody speaks there yet: what the platform shows comes first, then the job's own lines."""
    job = await manager.jobs.submit("runpod", sandbox.training_config())
    sandbox.edge_error(502, "GET", PROXY, times=2)
    lines = [line async for line in manager.stream_logs("runpod", job.platform_id)]
    assert LINES == [line for line in lines if line in LINES]
    assert lines[0].startswith("machine ")


async def test_a_machine_that_the_platform_does_not_show_yet_is_waited_for(sandbox, manager):
    """Answers lag behind a create: taken for gone, the machine would go on, and cost, beside the next one."""
    job = await manager.jobs.submit("runpod", sandbox.training_config(), feed=False)
    sandbox.faults.add("status", "GET", r"/v2/pods/\w+$", code=404, body='{"detail": "pod not found"}', times=2)
    sandbox.faults.add("shape", "GET", r"/v2/pods$", body={"pods": []}, times=2)
    assert not (await manager.jobs.feed(job.id)).status.is_terminal
    assert [job.platform_id] == list(sandbox.bills())
