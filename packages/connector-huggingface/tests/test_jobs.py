"""Jobs over plain HTTP."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

WISH = {"dockerImage": "python:3.12", "command": ["true"], "flavor": "l4x1", "timeoutSeconds": 600}


def lines(api: Any, id: str, **query: int) -> list[dict[str, str]]:
    """The whole log of a job that is over."""
    text = api.get(f"/api/jobs/me/{id}/logs", params=query).text
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_a_job_goes_as_the_clock_says(sandbox, api):
    """Waits, runs, ends; its dates, its durations and what it costs agree."""
    sandbox.script(lines=["a", "b"], pending_seconds=10, running_seconds=60)
    id = api.post("/api/jobs/me", json=WISH).json()["id"]
    assert {id: Decimal("0.80")} == sandbox.bills()
    sandbox.advance(10)
    assert "RUNNING" == api.get(f"/api/jobs/me/{id}").json()["status"]["stage"]
    sandbox.advance(600)
    job = api.get(f"/api/jobs/me/{id}").json()
    lasted = [job["durations"][f"{name}Secs"] for name in ("scheduling", "running", "total")]
    assert ("COMPLETED", [10, 60, 70], {}) == (job["status"]["stage"], lasted, sandbox.bills())
    assert ("2026-01-01T00:00:10.000Z", "2026-01-01T00:01:10.000Z") == (job["startedAt"], job["finishedAt"])
    assert [
        {"data": "===== Job started at 2026-01-01T00:00:10.000Z =====", "timestamp": "2026-01-01T00:00:10.000Z"},
        {"data": "a", "timestamp": "2026-01-01T00:00:10.000Z"},
        {"data": "b", "timestamp": "2026-01-01T00:00:40.000Z"},
    ] == lines(api, id)
    assert ["b"] == [line["data"] for line in lines(api, id, tail=1)]


def test_a_job_is_cancelled_once(sandbox, api):
    """And keeps the moment at which it was."""
    id = api.post("/api/jobs/me", json=WISH).json()["id"]
    sandbox.advance(8)
    for _ in range(2):
        job = api.post(f"/api/jobs/me/{id}/cancel").json()
        sandbox.advance(100)
        assert ("CANCELED", "2026-01-01T00:00:08.000Z", 3) == (
            job["status"]["stage"], job["finishedAt"], job["durations"]["runningSecs"],
        )  # fmt: skip


def test_a_job_without_money_or_permission_is_none(sandbox, api):
    """Neither an account that cannot pay nor a token that may not; nor a wish that makes no sense."""
    reader = {"authorization": f"Bearer {sandbox.accounts.issue('me', 'read')}"}
    assert 403 == api.post("/api/jobs/me", json=WISH, headers=reader).status_code
    assert 400 == api.post("/api/jobs/me", json={**WISH, "timeoutSeconds": 0}).status_code
    assert 400 == api.post("/api/jobs/me", json={**WISH, "spaceId": "me/space"}).status_code
    sandbox.accounts.owner.can_pay = False
    assert 402 == api.post("/api/jobs/me", json=WISH).status_code
    assert {} == dict(sandbox.jobs)
