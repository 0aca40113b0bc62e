"""Jobs as rented machines: what is asked for, what it costs, and that a job ends when nobody needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from decimal import Decimal

import pytest

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    PlatformError,
)
from peft_studio_huggingface.flavors import Flavor, offers_for
from peft_studio_huggingface.hub_job import EAR, HubJob, job_body
from peft_studio_huggingface.settings import Settings
from peft_studio_testkit.sandbox.open_ports import free_ports

PREFIX = "PEFT_STUDIO_WORKER_"


async def test_what_is_asked_for(sandbox, connect):
    """Secrets where the Hub shows names alone, a time limit beyond the worker's own, and an open port."""
    connector = await connect(job_token="hf_for_jobs_0123", push_to="me/adapters")
    config = sandbox.training_config(tag="ps-tag", resource_id="l4x1", max_duration=3600)
    body = sandbox.jobs[await connector.submit_job(config)].body
    assert {"HF_TOKEN", f"{PREFIX}TOKEN"} == set(body["secrets"])
    assert not set(body["secrets"]) & set(body["environment"])
    assert ("l4x1", 1, "ps-tag") == (body["flavor"], body["attempts"], body["labels"]["peft-studio"])
    assert float(body["environment"][f"{PREFIX}DEADLINE"]) < body["timeoutSeconds"] < 3600 + 14 * 3600
    assert {"ports": [8000], "portsPublic": [8000]} == body["expose"]


async def test_a_job_of_an_organisation_is_paid_by_it(sandbox, connect):
    """And is found there."""
    connector = await connect(namespace="acme")
    id = await connector.submit_job(sandbox.training_config(tag="ps-tag"))
    assert ("acme", id) == (sandbox.jobs[id].namespace, await connector.find_job("ps-tag"))


async def test_a_job_of_another_namespace_is_not_gone(sandbox, connect):
    """Whoever has changed the setting is told; what no namespace has is gone, also where one may not be asked."""
    id = await (await connect(namespace="acme")).submit_job(sandbox.training_config(tag="ps-tag"))
    connector = await connect()
    for call in (connector.get_job_status, connector.cancel_job):
        with pytest.raises(ConnectionFailed, match=f"job {id} belongs to acme: the namespace in use is me") as caught:
            await call(id)
        assert "set namespace to acme" == caught.value.remedy
    for code in (403, 404):
        sandbox.faults.add("status", path="/api/jobs/acme/", code=code)
        with pytest.raises(JobNotFound):
            await connector.get_job_status("0123456789abcdef01234567")


async def test_the_cost_is_the_hubs_time_at_the_hubs_price(sandbox, connector):
    """While it runs, and when it is over."""
    id = await connector.submit_job(sandbox.training_config(resource_id="l4x1"))
    sandbox.advance(1800)
    rate = (await connector.get_pricing("l4x1")).hourly_rate
    assert Decimal("0.80998") == rate
    assert rate / 2 == await connector.get_job_cost(id)
    await connector.cancel_job(id)
    await connector.end_rental(id)
    sandbox.advance(3600)
    assert rate / 2 == await connector.get_job_cost(id)
    with pytest.raises(JobNotFound, match="is over"):
        await connector.get_job_status(id)


async def test_a_job_ends_with_its_worker(sandbox, connector, tmp_path):
    """When the client has the adapter nothing is paid for any more."""
    config = sandbox.training_config()
    id = await connector.submit_job(config)
    await connector.feed_job(id, config)
    sandbox.advance(3600)
    await connector.download_artifact(id, tmp_path / "adapter")
    async with connector.worker_of(await connector.get_job_machine(id)) as worker:
        await worker.abandon()
    assert ("COMPLETED", {}) == (sandbox.jobs[id].stage, sandbox.bills())


async def test_an_account_that_cannot_pay_is_told(sandbox, connector):
    """Nothing was made."""
    sandbox.accounts.owner.can_pay = False
    with pytest.raises(InsufficientCreditsError, match="positive credit balance"):
        await connector.submit_job(sandbox.training_config())
    assert 0 == len(sandbox.jobs)


async def test_a_token_without_the_permission_is_told(sandbox, connect):
    """With what it lacks."""
    connector = await connect(token=sandbox.accounts.issue("me", "fineGrained", "repo.write"))
    with pytest.raises(InvalidCredentials) as caught:
        await connector.submit_job(sandbox.training_config())
    assert "manage Jobs" in caught.value.remedy


async def test_the_log_of_the_start_comes_once(sandbox, connector, monkeypatch):
    """The Hub begins anew when it is asked again."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    sandbox.script(lines=["a", "b", "c", "d"], pending_seconds=0, running_seconds=10)
    id = sandbox.jobs.add({"namespace": "me"}).id
    sandbox.advance(20)
    sandbox.faults.add("drop_after", path="/logs$", times=1, bytes=200)
    lines = [line async for line in connector.boot_log(id)]
    assert ["a", "b", "c", "d"] == lines[1:]
    assert 2 == sandbox.count("GET", "/logs$")


def flavor(id: str, micro: object = 10_000, **accelerator: str) -> Flavor:
    """One as the Hub tells it."""
    return Flavor.of({"name": id, "unitCostMicroUSD": micro, "unitLabel": "minute", "accelerator": accelerator or None})


FLAVORS = [
    flavor("two", 20_000, quantity="2", vram="48 GB"),
    flavor("one", 10_000, quantity="1", vram="24 GB"),
    flavor("small", 5_000, quantity="1", vram="8 GB"),
    flavor("free", None, quantity="1", vram="80 GB"),
    flavor("cpu"),
]


@pytest.mark.parametrize(
    ("wanted", "settings", "ids"),
    [
        (None, {}, ["one", "two", "free"]),
        (None, {"min_vram_gb": "40"}, ["free"]),
        (None, {"max_hourly_rate": "1"}, ["one"]),
        ("cpu, small", {}, ["cpu", "small"]),
    ],
)
def test_the_cheapest_that_fits_comes_first(wanted, settings, ids):
    """Memory is that of one GPU; what has no price is no bargain; who names one gets it."""
    assert ids == [offer.resource_id for offer in offers_for(FLAVORS, wanted, Settings.of(settings))]


def test_what_is_not_there_or_too_dear_is_told():
    """Nothing else is taken instead."""
    with pytest.raises(InvalidConfig, match="no hardware 'h100'"):
        offers_for(FLAVORS, "h100", Settings())
    with pytest.raises(PlatformError, match=r"no hardware that fits costs 0\.1 USD"):
        offers_for(FLAVORS, None, Settings.of({"max_hourly_rate": "0.1"}))


def test_an_unknown_stage_is_no_status():
    """It is an error with the Hub's word."""
    job = HubJob.of({"id": "1", "status": {"stage": "DREAMING"}})
    with pytest.raises(PlatformError, match="DREAMING"):
        job.machine({})


async def test_a_job_of_an_unknown_stage_is_not_left_out(sandbox, connector):
    """The list would say that nothing lives there."""
    jobs = [{"id": "1", "status": {"stage": "COMPLETED"}}, {"id": "2", "status": {"stage": "DREAMING"}}]
    sandbox.faults.add("shape", path="/api/jobs/me$", body=jobs)
    with pytest.raises(PlatformError, match="job 2 has a stage that this version does not know: DREAMING"):
        await connector.list_rentals()


class TestStartCommand:
    """The command of a job, run as the Hub would, with a free port in place of its own."""

    @pytest.fixture
    def ear(self):
        """Where it listens."""
        (port,) = free_ports(1)
        return port

    @pytest.fixture
    def start(self, tmp_path, ear):
        """Runs it with a script in place of the worker's."""
        started = []

        def run(script, **environment):
            from peft_studio.rented import Launch, Offer

            variables = {f"{PREFIX}DEADLINE": "60", f"{PREFIX}TOKEN": "t"}
            launch = Launch(tag="ps-x", script=script, variables=variables, port=8000, mount="/workspace")
            offer = Offer(resource_id="cpu-basic", words="", details={})
            command = [part.replace(str(EAR), str(ear)) for part in job_body(offer, launch, Settings())["command"]]
            process = subprocess.Popen(command, cwd=tmp_path, env=environment or None, start_new_session=True)
            started.append(process)
            return process

        yield run
        for process in started:
            with suppress(ProcessLookupError):  # nothing is left of it, as it should be
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def test_it_ends_when_the_worker_asks(self, start, ear, tmp_path):
        """With 0, after the worker has been told to stop: the Hub counts such a job as completed."""
        process = start("trap 'echo told > told; exit' TERM; while :; do sleep 0.05; done")
        assert 204 == asked(process, ear)
        assert 0 == process.wait(30)
        assert (tmp_path / "told").exists()

    def test_it_passes_the_end_on(self, start, ear, tmp_path):
        """When the Hub cancels the job."""
        process = start("trap 'echo told > told; exit' TERM; while :; do sleep 0.05; done")
        heard(process, ear)
        process.send_signal(signal.SIGTERM)
        assert 143 == process.wait(30)
        assert (tmp_path / "told").exists()

    def test_without_python_it_ends_at_once(self, start, tmp_path):
        """Nobody pays for waiting."""
        (tmp_path / "sh").symlink_to("/bin/sh")
        assert 1 == start("sleep 60", PATH=str(tmp_path)).wait(30)


def heard(process: subprocess.Popen[bytes], ear: int) -> None:
    """Wait until the command listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", ear)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("it does not listen")


def asked(process: subprocess.Popen[bytes], ear: int) -> int:
    """What it says to the worker."""
    heard(process, ear)
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{ear}/", method="POST"), timeout=30
    ) as answer:
        return int(answer.status)
