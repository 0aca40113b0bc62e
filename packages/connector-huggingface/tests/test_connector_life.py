"""The whole way on one platform: trained on a Job, brought home, published; and nothing is left that costs."""

from __future__ import annotations

from peft_studio import ConnectorManager
from peft_studio.ledger import Ledger
from peft_studio_huggingface.sandbox import HuggingFaceSandbox


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
