"""The whole way on one platform: trained on a Job, brought home, published; and nothing is left that costs."""

from __future__ import annotations

from decimal import Decimal

from peft_studio import ConnectorManager, JobStatus
from peft_studio.ledger import Ledger
from peft_studio_huggingface.sandbox import HuggingFaceSandbox


async def test_a_job_ends_while_endpoints_are_away(tmp_path, monkeypatch):
    """Jobs are the Hub's, and its word on them is enough."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    with HuggingFaceSandbox(speed=60) as sandbox, Ledger(tmp_path / "ledger.sqlite") as ledger:
        sandbox.faults.add("status", path="/v2/", code=503, times=None)
        credentials = {"huggingface": sandbox.credentials()}
        async with ConnectorManager(ledger=ledger, credentials=credentials) as manager:
            config = sandbox.training_config(output_dir=str(tmp_path / "adapter"))
            job = await manager.jobs.submit("huggingface", config)
            assert "completed" == [event async for event in manager.jobs.follow(job.id)][-1].data["status"]
            assert ({}, []) == (sandbox.bills(), ledger.open_intents())
            assert Decimal("0.41002") == (await manager.jobs.get(job.id)).hourly_rate
            other = await manager.jobs.submit("huggingface", config, feed=False)
            assert ("cancelled", {}) == ((await manager.jobs.cancel(other.id)).status, sandbox.bills())
        assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


async def test_a_job_that_its_machine_has_paused_is_said_to_end(tmp_path, monkeypatch, caplog):
    """A limit is near, and a Job cannot stand still: whoever follows is told, and not that Jobs cannot be paused."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with HuggingFaceSandbox(speed=60) as sandbox, Ledger(tmp_path / "ledger.sqlite") as ledger:
        async with ConnectorManager(ledger=ledger, credentials={"huggingface": sandbox.credentials()}) as manager:
            sandbox.script(running_seconds=100_000)
            job = await manager.jobs.submit("huggingface", sandbox.training_config())
            sandbox.advance_until(job.platform_id, JobStatus.RUNNING)
            sandbox.jobs[job.platform_id].pause()
            assert "paused" == [event async for event in manager.jobs.follow(job.id)][-1].data["status"]
            assert "its machine cannot stand still" in caplog.text
            await manager.jobs.cancel(job.id)
            assert {} == sandbox.bills()


async def test_a_training_is_published(tmp_path, monkeypatch):
    """By the tools that every platform is used with."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with HuggingFaceSandbox(speed=60) as sandbox, Ledger(tmp_path / "ledger.sqlite") as ledger:
        credentials = {"huggingface": sandbox.credentials()}
        async with ConnectorManager(ledger=ledger, credentials=credentials) as manager:
            await manager.connect("huggingface")
            config = sandbox.training_config(output_dir=str(tmp_path / "adapter"))
            job = await manager.jobs.submit("huggingface", config)
            events = [event async for event in manager.jobs.follow(job.id)]
            await manager.jobs.finish(job.id)
            assert ("completed", {}) == (events[-1].data["status"], sandbox.bills())
            await manager.upload_artifact("huggingface", tmp_path / "adapter", {"repo_id": "me/done"})
        published = sandbox.models["me/done"].files
        assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} == set(published)
        assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == published[
            "adapter_model.safetensors"
        ]
        assert [] == sandbox.errors
