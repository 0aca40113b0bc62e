"""A job, a repository and an endpoint from beginning to end, on the sandbox and, for who pays, on the real service.

The real one is skipped unless HF_TOKEN and PEFT_STUDIO_LIVE_MAX_COST (US dollars) are set. The limit is kept three
times: nothing is rented that could cost more in an hour, every job ends itself before that hour is over and every
endpoint goes to sleep, and whatever is left of a test is deleted when it ends. What it makes is private, and is called
`peft-studio-live`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from peft_studio import ConnectorManager, JobStatus, Ledger, TrainingConfig
from peft_studio.artifacts import verify
from peft_studio.homes import home_of
from peft_studio_huggingface.sandbox import HuggingFaceSandbox
from peft_studio_huggingface.settings import BASE_URL
from peft_studio_testkit.tiny_model import write_facts, write_tiny_model

pytestmark = pytest.mark.slow

NEEDED = ("HF_TOKEN", "PEFT_STUDIO_LIVE_MAX_COST")
is_paid = all(os.environ.get(name) for name in NEEDED)
#: Together with the half hour in which a job has to come up: less than an hour.
TRAINING_SECONDS, KEEP_HOURS = 900, "0.2"
#: For the sandbox, USD.
SANDBOX_LIMIT = "0.90"
NAME, MODEL = "peft-studio-live", "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(
    params=[
        "sandbox",
        pytest.param("huggingface", marks=pytest.mark.skipif(not is_paid, reason=f"set {' and '.join(NEEDED)}")),
    ]
)
def platform(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where it happens, with what it may cost in an hour."""
    if request.param == "huggingface":
        limit = os.environ["PEFT_STUDIO_LIVE_MAX_COST"]
        yield {"token": os.environ["HF_TOKEN"], "max_hourly_rate": limit, "keep_hours": KEEP_HOURS, "min_vram_gb": "14"}
        return
    with HuggingFaceSandbox(worker=True) as sandbox:
        sandbox.hub.add(MODEL, {"README.md": b"---\npipeline_tag: text-generation\n---\n"})
        yield {**sandbox.credentials(), "max_hourly_rate": SANDBOX_LIMIT, "keep_hours": KEEP_HOURS, "min_vram_gb": "14"}
        assert ({}, []) == (sandbox.bills(), sandbox.errors)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """In a home of its own."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
async def manager(platform: dict[str, str], ledger: Ledger) -> AsyncIterator[ConnectorManager]:
    """Connected; what is left behind is deleted, and the test fails then."""
    async with ConnectorManager(ledger=ledger, credentials={"huggingface": platform}) as made:
        await made.connect("huggingface")
        yield made
        ours = {job.id for job in ledger.jobs()}
        rentals = await made.list_rentals("huggingface")
        left = [rental for rental in rentals if rental.tag in ours or rental.name == NAME]
        for rental in left:
            is_gone = await made.end_rental("huggingface", rental.id)
            assert is_gone, f"END {rental.id} BY HAND, it costs {rental.hourly_rate}"
        assert [] == left


@pytest.fixture
def config(platform: dict[str, str], tmp_path: Path) -> TrainingConfig:
    """A tiny model and four dozen facts, both of which travel to the job."""
    model, facts = write_tiny_model(tmp_path / "model"), write_facts(tmp_path / "facts.jsonl")
    return TrainingConfig(
        base_model=str(model), dataset_path=str(facts), rank=4, num_epochs=1, batch_size=8,
        max_cost=Decimal(platform["max_hourly_rate"]), max_duration=TRAINING_SECONDS,
    )  # fmt: skip


async def test_an_adapter_comes_home_and_nothing_is_left(manager, ledger, config):
    """Rent, wait for the worker, upload, train, follow, download, end; who pays sees with `-s` what happens."""
    job = await manager.jobs.submit("huggingface", config, feed=False)
    await manager.jobs.feed(job.id, tell=print)
    async for event in manager.jobs.follow(job.id):
        print(event.type, dict(event.data))  # noqa: T201
    job = ledger.job(job.id)
    assert JobStatus.COMPLETED is job.status, job.reason
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {file.path for file in verify(home_of(job)).files}


async def test_a_job_is_cancelled_while_its_machine_comes_up(manager, config):
    """The dearest moment to change one's mind: nothing has been uploaded, and the machine is already paid for."""
    job = await manager.jobs.submit("huggingface", config, feed=False)
    (rental,) = [each for each in await manager.list_rentals("huggingface") if each.tag == job.id]
    assert 0 < rental.hourly_rate <= config.max_cost
    assert JobStatus.CANCELLED is (await manager.jobs.cancel(job.id)).status
    assert job.id not in {each.tag for each in await manager.list_rentals("huggingface")}


async def test_a_folder_goes_up_and_comes_home(manager, platform, tmp_path):
    """Into a private repository, which is deleted again."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(11 * 2**20))
    id = await manager.upload_artifact("huggingface", str(folder), {"repo_id": NAME, "private": True})
    try:
        home = await manager.download_model("huggingface", id, tmp_path / "home-again")
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            assert (folder / name).read_bytes() == (home / name).read_bytes()
    finally:
        owner, _, name = id.partition("/")
        address, headers = platform.get("base_url", BASE_URL), {"authorization": f"Bearer {platform['token']}"}
        body = {"name": name, "organization": owner}
        httpx2.request("DELETE", f"{address}/api/repos/delete", json=body, headers=headers).raise_for_status()


async def test_an_endpoint_is_made_and_deleted(manager, platform):
    """The cheapest; it is listed with its price while it comes up, and gone before it serves anything."""
    options = {"name": NAME, "scale_to_zero_minutes": 15}
    id = await manager.deploy_model("huggingface", MODEL, **options)
    try:
        (rental,) = [each for each in await manager.list_rentals("huggingface") if each.id == id]
        assert 0 < rental.hourly_rate <= Decimal(platform["max_hourly_rate"])
    finally:
        assert await manager.stop_deployment("huggingface", id)
    assert id not in {each.id for each in await manager.list_rentals("huggingface")}
