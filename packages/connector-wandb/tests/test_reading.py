"""Reading runs back from the sandbox: lists over all projects, one run as it is, and every row of it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from peft_studio import JobNotFound, JobStatus, PlatformError, Run, RunBatch, RunRow
from peft_studio_wandb.connector import WandbConnector
from peft_studio_wandb.paths import RunPath
from peft_studio_wandb.reading import STATES, last_step, run_of, status_of
from peft_studio_wandb.sandbox import WandbSandbox
from peft_studio_wandb.settings import Settings

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
Work = Callable[[WandbConnector], Awaitable[Any]]


class Narrow(WandbConnector):
    """Its pages are small enough to be filled in a test."""

    most_rows = 2000


def use(sandbox: WandbSandbox, work: Work, **changes: str) -> Any:
    """What `work` answers, with a connector of its own."""

    async def go() -> Any:
        connector = Narrow()
        await connector.connect({**sandbox.credentials(), **changes})
        try:
            return await work(connector)
        finally:
            await connector.disconnect()

    return asyncio.run(go())


def listed(sandbox: WandbSandbox, **wanted: Any) -> list[str]:
    """Names at the end of the ids of a list."""
    runs = use(sandbox, lambda connector: connector.list_runs(**wanted))
    return [run.id.rpartition("/")[2] for run in runs]


def seed(sandbox: WandbSandbox, project: str, name: str, **fields: Any) -> None:
    """A run that somebody else wrote, a second after the last one."""
    sandbox.clock.advance(1)
    run, _ = sandbox.workspace.open_run(sandbox.workspace.open_project(None, project), name)
    for field, value in fields.items():
        setattr(run, field, value)


def read_back(sandbox: WandbSandbox, steps: list[int]) -> tuple[list[int], int]:
    """Steps as they are read back, and how many windows that takes."""

    async def work(connector: WandbConnector) -> list[Any]:
        run = await connector.start_run({"run_id": "job-1"})
        rows = tuple(RunRow(step=step, time=NOON, metrics={"loss": math.nan}) for step in steps)
        await connector.log_batch(run, RunBatch(rows=rows))
        before = sandbox.count("POST", "/graphql")
        back = await connector.get_metrics(run)
        assert all(math.isnan(row["loss"]) for row in back)
        return [[row["step"] for row in back], sandbox.count("POST", "/graphql") - before - 1]

    found, windows = use(sandbox, work)
    return found, windows


def test_history_with_gaps_is_read_whole(sandbox: WandbSandbox) -> None:
    """Steps may be far apart: an empty window is not the end, and is followed by a wider one."""
    steps = [0, 1, 999, 1000, 5500, *range(2_000_000, 2_003_000), 9_000_000, 10**12]
    found, windows = read_back(sandbox, steps)
    assert (steps, True) == (found, windows < 200)


def test_dense_rows_after_a_gap_are_no_sample(sandbox: WandbSandbox) -> None:
    """A window that has become wide in a gap may hold more rows than one answer does: then it is read anew."""
    steps = [0, *range(10_000_000, 10_005_000)]
    assert steps == read_back(sandbox, steps)[0]


def test_dense_history_is_read_in_windows_of_its_size(sandbox: WandbSandbox) -> None:
    """A thousand rows each, as W&B's own client asks for them."""
    assert (list(range(5000)), 5) == read_back(sandbox, list(range(5000)))


def test_rows_that_are_kept_back_are_an_error(sandbox: WandbSandbox) -> None:
    """A server that has rows and hands out none is not a run without metrics."""
    sandbox.run_fields.hides_history = True
    with pytest.raises(PlatformError, match=r"W&B has 2 rows of jo/peft-studio/job-1 and hands out none"):
        read_back(sandbox, [1, 2])


def test_runs_of_all_projects_are_listed_newest_first(sandbox: WandbSandbox) -> None:
    """Page by page, over every project of the entity; `limit` keeps the newest of all of them."""
    for number in range(120):
        seed(sandbox, f"project-{number % 2}", f"run-{number}")
    newest = [f"run-{number}" for number in range(119, -1, -1)]
    assert newest == listed(sandbox)
    assert newest[:3] == listed(sandbox, limit=3)
    assert newest[1::2] == listed(sandbox, project="project-0")
    assert newest[0:6:2] == listed(sandbox, project="jo/project-1", limit=3)
    assert [] == listed(sandbox, limit=0)


def test_list_asks_for_no_more_than_it_needs(sandbox: WandbSandbox) -> None:
    """Of a long project the newest few are one short page."""
    for number in range(120):
        seed(sandbox, "lora", f"run-{number}")
    before = sandbox.count("POST", "/graphql")
    listed(sandbox, project="lora", limit=3)
    asked = [each.json() for each in sandbox.requests[before:] if "Runs" in each.json()["query"]]
    assert [3] == [each["variables"]["first"] for each in asked]


def test_search_is_a_text_in_any_letters(sandbox: WandbSandbox) -> None:
    """Of what people see or of the name, as it stands: its signs are no pattern."""
    seed(sandbox, "lora", "a-1", display_name="Qwen r=16 (best)")
    seed(sandbox, "lora", "qwen-2", display_name="second")
    seed(sandbox, "lora", "c-3", display_name="Qwen r=16 best")
    assert ["c-3", "qwen-2", "a-1"] == listed(sandbox, search="qwen")
    assert ["a-1"] == listed(sandbox, search="R=16 (B")


def test_each_status_is_found(sandbox: WandbSandbox) -> None:
    """Cancelled runs are not among the failed ones, though W&B calls them so; limit counts after that."""
    seed(sandbox, "lora", "failed", exitcode=1)
    seed(sandbox, "lora", "cancelled", exitcode=130, summary=json.dumps({"job_status": "cancelled"}))
    seed(sandbox, "lora", "completed", exitcode=0)
    seed(sandbox, "lora", "running")
    seed(sandbox, "lora", "paused", preempting=True)
    for status in ("running", "paused", "completed", "failed", "cancelled"):
        assert [status] == listed(sandbox, status=JobStatus(status), limit=1)
    assert [] == listed(sandbox, status=JobStatus.PENDING)
    last = sandbox.requests[-1].json()["variables"]["filters"]
    assert {"$and": [{"state": {"$in": ["pending"]}}]} == json.loads(last)


def test_filters_go_to_the_server(sandbox: WandbSandbox) -> None:
    """Conditions as MongoDB writes them, beside the others."""
    for rank in (8, 16, 32):
        seed(sandbox, "lora", f"rank-{rank}", config=json.dumps({"rank": {"value": rank}}))
    assert ["rank-32", "rank-16"] == listed(sandbox, filters={"config.rank": {"$gte": 16}})
    assert ["rank-16"] == listed(sandbox, filters={"config.rank": {"$gte": 16}}, search="16")


def test_unknown_project_is_an_error(sandbox: WandbSandbox) -> None:
    """An empty list would say that there are no runs in it."""
    with pytest.raises(PlatformError, match="W&B has no project jo/nothing"):
        listed(sandbox, project="nothing")


def test_no_project_has_no_runs(sandbox: WandbSandbox) -> None:
    """A new account has nothing to list."""
    assert [] == listed(sandbox)


def test_run_is_told_whole(sandbox: WandbSandbox) -> None:
    """Config and summary without W&B's own parts, when it began and how long it took, its tags and its page."""

    async def work(connector: WandbConnector) -> Run:
        config = {"run_id": "job-1", "project_name": "lora", "rank": 8, "display_name": "first", "tags": ["good"]}
        run = await connector.start_run(config)
        sandbox.clock.advance(90)
        await connector.log_batch(run, RunBatch(summary={"train/loss": 0.5}, status=JobStatus.COMPLETED))
        found = await connector.get_run(run)
        assert found == await connector.get_run(run)
        return found

    run = use(sandbox, work)
    assert Run(
        id="jo/lora/job-1", name="first", project="lora", status=JobStatus.COMPLETED, created=run.created,
        duration=90.0, url=f"{sandbox.url}/jo/lora/runs/job-1", config={"project_name": "lora", "rank": 8},
        summary={"train/loss": 0.5, "job_status": "completed"}, tags=("good",),
    ) == run  # fmt: skip
    assert run.created is not None
    assert run.created.tzinfo is UTC


def test_page_of_the_service_is_another_address() -> None:
    """Runs are asked for at one address and looked at on another, which W&B's own service has."""
    assert "https://wandb.ai" == Settings().page
    assert "https://wandb.acme.com" == Settings.of({"base_url": "https://wandb.acme.com/"}).page


@pytest.mark.parametrize("id", ["nothing", "jo/peft-studio/nothing", "no: name", ""])
def test_unknown_run_is_no_job(sandbox: WandbSandbox, id: str) -> None:
    """Also one whose id could not be that of a run."""
    with pytest.raises(JobNotFound, match="W&B has no run"):
        use(sandbox, lambda connector: connector.get_run(id))


@pytest.mark.parametrize(
    ("told", "last"),
    [
        ({}, -1),
        ({"historyKeys": {"lastStep": 7}, "summaryMetrics": '{"_step": 5}'}, 7),
        ({"historyKeys": None, "summaryMetrics": '{"_step": 5}'}, 5),
    ],
)
def test_rows_end_at_the_later_step(told: dict[str, Any], last: int) -> None:
    """Of the two that W&B tells; either may be behind."""
    assert last == last_step(told)


def test_state_that_is_not_known_is_unknown() -> None:
    """A word of a later server is no guess; those of today are all known."""
    assert None is run_of({"state": "hibernating"}, RunPath("jo", "lora", "a"), "https://wandb.ai").status
    assert set(JobStatus) == {*STATES.values()}
    assert JobStatus.FAILED is status_of({"state": "crashed"})
