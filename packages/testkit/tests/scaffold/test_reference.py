"""The reference connector against its own platform: what is particular to it. The compliance suite checks the rest."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    JobNotFound,
    JobStatus,
    PlatformError,
    Resource,
    Transport,
)
from peft_studio.artifacts import verify, write_manifest
from peft_studio_testkit.sandbox.streaming import json_line, line_events


async def test_a_whole_job(connector, sandbox, tmp_path):
    """Submitted, followed line by line, measured, and its adapter brought home verified."""
    job = await connector.submit_job(sandbox.training_config(tag="ps-1", rank=24))
    reading = asyncio.ensure_future(_lines(connector, job))
    await asyncio.to_thread(sandbox.advance_until, job, JobStatus.COMPLETED)

    assert sandbox.jobs[job].lines == await reading
    assert JobStatus.COMPLETED == await connector.get_job_status(job)
    assert job == await connector.find_job("ps-1")
    assert [(1, 2.3104), (2, 1.8725), (3, 1.5511)] == [
        (row["step"], row["loss"]) for row in await connector.get_metrics(job)
    ]
    verify(await connector.download_artifact(job, tmp_path / "adapter"))
    assert dict(sandbox.jobs[job].files) == {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}


async def _lines(connector, job):
    return [line async for line in connector.stream_logs(job)]


async def test_the_data_travel_with_the_job(connector, sandbox):
    """The platform has the dataset under its own name, byte by byte, before it has the job."""
    config = sandbox.training_config()
    job = await connector.submit_job(config)
    arrived = Path(sandbox.jobs[job].received["dataset_path"])

    assert (Path(config.dataset_path).name, Path(config.dataset_path).read_bytes()) == (
        arrived.name, arrived.read_bytes(),
    )  # fmt: skip


async def test_what_the_platform_would_ignore_is_refused_by_name(connector, sandbox, tmp_path):
    """All at once; nothing is sent."""
    config = sandbox.training_config(
        algorithm="vera", base_model=str(tmp_path), max_cost="5", max_duration="1h", dataset_path="none.jsonl"
    )
    before = len(sandbox.requests)
    with pytest.raises(InvalidConfig) as caught:
        await connector.submit_job(config)

    assert {"algorithm", "base_model", "max_cost", "max_duration", "dataset_path"} == {
        problem.field for problem in caught.value.problems
    }
    assert before == len(sandbox.requests)


async def test_what_is_for_this_side_is_not_sent(connector, sandbox, tmp_path):
    """Where the adapter goes to is nobody else's business."""
    config = sandbox.training_config(output_dir=str(tmp_path / "here"), provider="reference-in-tests")
    job = await connector.submit_job(config)

    assert {"output_dir", "provider"}.isdisjoint(sandbox.jobs[job].received)


async def test_money_is_exact(connector):
    """1.99 is 1.99, of the currency and in the steps that the platform names."""
    price = await connector.get_pricing("a100")

    assert (Decimal("1.99"), "USD", 60) == (price.hourly_rate, price.currency, price.billing_increment)
    assert "2.00" != str(price.hourly_rate)


async def test_machines_are_resources(connector):
    """GPUs with their memory in GiB; a machine without says None, not 0."""
    found = {resource.id: resource for resource in await connector.list_resources()}

    assert (8, 80, None) == (found["h100-8"].gpu_count, found["h100-8"].vram_gb, found["h100-8"].ram_gb)
    assert (0, None, 64) == (found["cpu"].gpu_count, found["cpu"].vram_gb, found["cpu"].ram_gb)
    assert all(isinstance(resource, Resource) for resource in found.values())


@pytest.mark.parametrize("word", [
    ("QUEUED", JobStatus.PENDING), ("STARTING", JobStatus.PENDING), ("RUNNING", JobStatus.RUNNING),
    ("PAUSED", JobStatus.PAUSED), ("SUCCEEDED", JobStatus.COMPLETED), ("FAILED", JobStatus.FAILED),
    ("CANCELLED", JobStatus.CANCELLED),
])  # fmt: skip
async def test_each_word_of_the_platform_is_one_status(connector, sandbox, word):
    """The one table, word by word."""
    job = sandbox.jobs.add(tag="x")
    job.word, expected = word

    assert expected is await connector.get_job_status(job.id)


async def test_a_log_that_ends_without_saying_so_is_not_whole(reference):
    """A proxy that closes a stream in good order has not ended the job."""

    class Proxied(reference.sandbox):
        async def job_logs(self, request):
            return line_events(
                request, self.clock, self.jobs[request.path_params["id"]], data=json_line, end_event=None
            )

    with Proxied() as sandbox:
        connector = reference.connector()
        await connector.connect(sandbox.credentials())
        job = sandbox.jobs.add(tag="x", status=JobStatus.COMPLETED)
        with pytest.raises(ConnectionFailed, match="ended before the job did"):
            await _lines(connector, job.id)
        await connector.disconnect()


async def test_a_reader_that_leaves_closes_the_stream(connector, sandbox):
    """Nothing stays open behind it."""
    sandbox.script(running_seconds=1000)
    job = await connector.submit_job(sandbox.training_config())
    sandbox.advance(900)
    async with aclosing(connector.stream_logs(job)) as lines:
        await anext(lines)
    for _ in range(300):
        if not sandbox.open_streams:
            break
        await asyncio.sleep(0.01)

    assert 0 == sandbox.open_streams


async def test_an_interrupted_download_goes_on_with_the_next_call(connector, sandbox, tmp_path):
    """Files that have arrived are not asked for again; what was cut goes on at its byte."""
    sandbox.script(files={"a.bin": b"a" * 100_000, "b.bin": bytes(range(256)) * 4096})
    job = await connector.submit_job(sandbox.training_config())
    await asyncio.to_thread(sandbox.advance_until, job, JobStatus.COMPLETED)
    sandbox.faults.add("drop_after", path=r"/files/b\.bin$", bytes=500_000)
    sandbox.faults.add("reset_before", path=r"/files/b\.bin$", times=None)
    with pytest.raises(ConnectionFailed):
        await connector.download_artifact(job, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    sandbox.faults.clear()
    sandbox.requests.clear()
    verify(await connector.download_artifact(job, tmp_path / "adapter"))

    asked = {request.path.rpartition("/")[2]: request.headers for request in sandbox.requests}
    assert "a.bin" not in asked
    assert int(asked["b.bin"]["range"].removeprefix("bytes=").removesuffix("-")) > 0
    assert ["adapter"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "", ".", "a//b", "./a"])
async def test_a_file_name_that_leads_out_is_no_answer(reference, name):
    """Whatever the platform lists, nothing is written outside of the folder."""
    document = {"name": name, "size": 1, "sha256": "0" * 64}
    with pytest.raises(ConnectionFailed, match="it is no File"):
        reference.api.read(reference.api.File, document)


@pytest.mark.parametrize("document", [
    None, 5, [], {}, "{", "[1]", {"id": 5, "status": "RUNNING"}, {"id": "x"}, {"id": None, "status": "RUNNING"},
])  # fmt: skip
async def test_an_answer_of_another_shape_is_no_answer(reference, document):
    """Never a KeyError, never a None that wanders on."""
    with pytest.raises(ConnectionFailed, match="the platform's answer cannot be read: it is no Job"):
        reference.api.read(reference.api.Job, document)


async def test_an_answer_may_say_more(reference):
    """Fields that the platform adds one day do no harm, and texts of JSON are read as such."""
    job = reference.api.read(reference.api.Job, json.dumps({"id": "x", "status": "RUNNING", "colour": "red"}))

    assert ("x", "RUNNING", None) == (job.id, job.status, job.reason)


@pytest.mark.parametrize("price", ["much", {}, "1,99"])
async def test_a_price_that_is_none_is_no_answer(reference, price):
    """It does not become 0."""
    with pytest.raises(ConnectionFailed, match="no amount of money"):
        reference.api.read(reference.api.Machine, {"id": "x", "name": "x", "currency": "USD", "hourly_price": price})


async def test_a_download_finds_no_leavings_of_another(connector, sandbox, tmp_path):
    """What was left of one job's adapter does not end up in that of the next."""
    for content in (b"old" * 1000, b"new" * 1000):
        sandbox.script(files={"a.bin": content, content[:3].decode(): b"x"})
        job = await connector.submit_job(sandbox.training_config())
        await asyncio.to_thread(sandbox.advance_until, job, JobStatus.COMPLETED)
        if content.startswith(b"old"):
            sandbox.faults.add("reset_before", path="/files/old$", times=None)
            with pytest.raises(ConnectionFailed):
                await connector.download_artifact(job, tmp_path / "adapter")
            sandbox.faults.clear()
    verify(await connector.download_artifact(job, tmp_path / "adapter"))

    assert b"new" * 1000 == (tmp_path / "adapter" / "a.bin").read_bytes()
    assert not (tmp_path / "adapter" / "old").exists()


@pytest.mark.parametrize("method", ["cancel_job", "pause_job"])
async def test_a_command_is_asked_again(connector, sandbox, method):
    """A lost answer to a command costs nothing but time: the second one says what is so."""
    job = await connector.submit_job(sandbox.training_config())
    sandbox.advance_until(job, JobStatus.RUNNING)
    sandbox.faults.add("reset_after", "POST")

    assert await getattr(connector, method)(job)


async def test_an_upload_is_sent_again(connector, sandbox):
    """Its digest is its name: twice is once."""
    sandbox.faults.add("reset_after", "PUT")

    assert await connector.submit_job(sandbox.training_config()) in sandbox.jobs


async def test_a_revoked_key_is_noticed(connector, sandbox):
    """verify_connection says no; it does not fail."""
    sandbox.revoke()

    assert await connector.verify_connection() is False


async def test_a_model_is_created_whole(connector, sandbox, tmp_path):
    """When one file does not arrive there is no model at all; with all of them it comes back the same."""
    folder = tmp_path / "adapter"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.bin").write_bytes(b"b")
    (folder / "a.bin").write_bytes(b"a")
    (folder / "sub" / "manifest.json").write_bytes(b"{}")
    write_manifest(folder)
    sandbox.faults.add("reset_before", "PUT", after=1, times=None)
    with pytest.raises(ConnectionFailed):
        await connector.upload_artifact(str(folder), {"name": "mine"})
    assert {} == dict(sandbox.models)
    sandbox.faults.clear()
    model = await connector.upload_artifact(str(folder), {"name": "mine", "tags": ["x", "y"]})

    assert {"a.bin": b"a", "sub/b.bin": b"b", "sub/manifest.json": b"{}"} == sandbox.models[model].files
    assert ("mine", ("x", "y"), 4) == _known(await connector.get_model_metadata(model))
    verify(await connector.download_model(model, tmp_path / "back"))


def _known(info):
    return info.name, info.tags, info.size_bytes


async def test_a_model_without_files_cannot_be_downloaded(connector, sandbox, tmp_path):
    """An empty folder would pass for a model."""
    model = sandbox.models.add("empty")
    with pytest.raises(ArtifactNotFound, match="has no files"):
        await connector.download_model(model.id, tmp_path / "here")


async def test_a_run_keeps_each_entry_once(connector, sandbox):
    """An answer that is lost is asked for again, and the entry is there once; nan stays nan."""
    run = await connector.start_run({"rank": 8})
    sandbox.faults.add("reset_after", "POST", times=1)
    await connector.log_metrics(run, {"loss": math.nan, "accuracy": 0.5}, 1)
    sandbox.faults.add("reset_after", "POST", times=1)
    await connector.log_text(run, "once")
    await connector.finish_run(run, JobStatus.FAILED)

    ((step, values),) = sandbox.runs[run].metrics
    assert (1, True, 0.5) == (step, math.isnan(values["loss"]), values["accuracy"])
    assert (["once"], "FAILED") == (sandbox.runs[run].text, sandbox.runs[run].status)
    (row,) = await connector.get_metrics(run)
    assert math.isnan(row["loss"])


async def test_a_run_cannot_end_as_running(connector, sandbox):
    """Only an end is an end."""
    run = await connector.start_run({})
    with pytest.raises(InvalidConfig, match="a run cannot end as running"):
        await connector.finish_run(run, JobStatus.RUNNING)


async def test_ids_say_what_metrics_they_are_of(connector, sandbox):
    """An unknown run is an error of the platform, an unknown job is no job."""
    with pytest.raises(JobNotFound):
        await connector.get_metrics("job-unknown")
    with pytest.raises(PlatformError):
        await connector.get_metrics("run-unknown")


async def test_options_of_a_deployment_reach_the_platform(connector, sandbox):
    """As they are."""
    model = sandbox.models.add("one").id
    deployment = await connector.deploy_model(model, replicas=2)

    assert {"model": model, "options": {"replicas": 2}} == sandbox.requests[-1].json()
    assert sandbox.deployments[deployment].url == await connector.get_endpoint_url(deployment)
    assert {"requests": 0} == await connector.get_deployment_metrics(deployment)


async def test_an_endpoint_without_an_address_is_an_error(connector, sandbox):
    """None is not an address."""
    deployment = sandbox.deployments.add("model-1", status="starting")
    with pytest.raises(PlatformError, match="has no address: it is starting"):
        await connector.get_endpoint_url(deployment.id)


async def test_a_connection_is_replaced_only_by_one_that_works(connector, sandbox):
    """A wrong key does not cost the connection that there was."""
    with pytest.raises(ValueError, match="invalid API key"):
        await connector.connect({**sandbox.credentials(), "api_key": "wrong"})

    assert await connector.verify_connection()


async def test_no_request_was_a_surprise(connector, sandbox):
    """The fake platform's own code has not failed on anything that the connector sends."""
    await connector.submit_job(sandbox.training_config())

    assert [] == sandbox.errors


@pytest.fixture
async def visitor(sandbox):
    """Somebody who knows the key and writes requests by hand."""
    async with Transport(sandbox.url, headers={"Authorization": f"Bearer {sandbox.key}"}) as transport:
        yield transport


async def test_the_platform_refuses_other_bytes_than_were_named(visitor, sandbox):
    """An upload whose digest is another is not kept."""
    with pytest.raises(PlatformError, match="these are not the bytes"):
        await visitor.put("v1", "files", "0" * 64, content=b"x")


@pytest.mark.parametrize(("change", "words"), [({"machine": "none"}, "no machine none"), ({}, "was not uploaded")])
async def test_the_platform_refuses_jobs_that_it_cannot_run(visitor, sandbox, change, words):
    """No such machine, no such data; there is no job then."""
    dataset = {"name": "x.jsonl", "size": 1, "sha256": "0" * 64}
    request = {"tag": None, "machine": None, "dataset": dataset, "training": {}}
    with pytest.raises(PlatformError, match=words):
        await visitor.post("v1", "jobs", json={**request, **change})

    assert {} == dict(sandbox.jobs)


async def test_the_platform_refuses_to_serve_what_is_stopped(connector, sandbox):
    """Also when the deployment is still listed."""
    deployment = await connector.deploy_model(sandbox.models.add("one").id)
    await connector.stop_deployment(deployment)
    with pytest.raises(PlatformError, match="is stopped"):
        await connector.invoke_endpoint(deployment, {"prompt": "x"})
