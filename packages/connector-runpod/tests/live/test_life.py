"""A job from the submission to the teardown, on the sandbox and, for who pays for it, on the real RunPod.

The real one is skipped unless RUNPOD_API_KEY and PEFT_STUDIO_LIVE_MAX_COST (US dollars) are set. The limit is kept
three times: no pod is rented that could cost more in an hour, every pod ends itself before that hour is over, and
whatever is left of the job is deleted when the test ends.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from peft_studio import ConnectorManager, JobStatus, Ledger, TrainingConfig
from peft_studio.artifacts import verify
from peft_studio.homes import home_of
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.tiny_model import write_facts, write_tiny_model

pytestmark = pytest.mark.slow

NEEDED = ("RUNPOD_API_KEY", "PEFT_STUDIO_LIVE_MAX_COST")
is_paid = all(os.environ.get(name) for name in NEEDED)
#: Together with the half hour in which a pod has to come up: less than an hour.
TRAINING_SECONDS, KEEP_HOURS = 900, "0.2"
#: For the sandbox, USD.
SANDBOX_LIMIT = "0.30"


@pytest.fixture(
    params=[
        "sandbox",
        pytest.param("runpod", marks=pytest.mark.skipif(not is_paid, reason=f"set {' and '.join(NEEDED)}")),
    ]
)
def platform(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where the job runs, with what it may cost."""
    if request.param == "runpod":
        limit = os.environ["PEFT_STUDIO_LIVE_MAX_COST"]
        yield {"api_key": os.environ["RUNPOD_API_KEY"], "max_hourly_rate": limit, "keep_hours": KEEP_HOURS}
        return
    with RunpodSandbox(worker=True) as sandbox:
        sandbox.pods.provisioning_seconds = sandbox.pods.starting_seconds = 0.1
        yield {**sandbox.credentials(), "max_hourly_rate": SANDBOX_LIMIT, "keep_hours": KEEP_HOURS}
        assert {} == sandbox.bills()


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """In a home of its own."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
async def manager(platform: dict[str, str], ledger: Ledger) -> AsyncIterator[ConnectorManager]:
    """Connected; what its jobs leave behind is deleted, and the test fails then."""
    async with ConnectorManager(ledger=ledger, credentials={"runpod": platform}) as made:
        await made.connect("runpod")
        yield made
        ours = {job.id for job in ledger.jobs()}
        left = [rental for rental in await made.list_rentals("runpod") if rental.tag in ours]
        for rental in left:
            assert await made.end_rental("runpod", rental.id), f"END {rental.id} BY HAND, it costs {rental.hourly_rate}"
        assert [] == left


@pytest.fixture
def config(platform: dict[str, str], tmp_path: Path) -> TrainingConfig:
    """A tiny model and four dozen facts, both of which travel to the pod."""
    model, facts = write_tiny_model(tmp_path / "model"), write_facts(tmp_path / "facts.jsonl")
    return TrainingConfig(
        base_model=str(model), dataset_path=str(facts), rank=4, num_epochs=1, batch_size=8,
        max_cost=Decimal(platform["max_hourly_rate"]), max_duration=TRAINING_SECONDS,
    )  # fmt: skip


async def test_an_adapter_comes_home_and_nothing_is_left(manager, ledger, config):
    """Rent, wait for the worker, upload, train, follow, download, delete; who pays sees with `-s` what happens."""
    job = await manager.jobs.submit("runpod", config, feed=False)
    await manager.jobs.feed(job.id, tell=print)
    async for event in manager.jobs.follow(job.id):
        print(event.type, dict(event.data))  # noqa: T201
    job = ledger.job(job.id)
    assert JobStatus.COMPLETED is job.status, job.reason
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {file.path for file in verify(home_of(job)).files}


async def test_a_job_is_cancelled_while_its_pod_comes_up(manager, ledger, config):
    """The dearest moment to change one's mind: nothing has been uploaded, and the pod is already paid for."""
    job = await manager.jobs.submit("runpod", config, feed=False)
    (rental,) = [each for each in await manager.list_rentals("runpod") if each.tag == job.id]
    assert 0 < rental.hourly_rate <= config.max_cost
    assert JobStatus.CANCELLED is (await manager.jobs.cancel(job.id)).status
    assert job.id not in {each.tag for each in await manager.list_rentals("runpod")}
