"""Submitting: reviewed, written down before the platform is called, settled only by an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    CapacityError,
    ConnectionFailed,
    InvalidConfig,
    PeftStudioError,
    PlatformConnector,
    Problem,
    hookimpl,
)
from peft_studio.ledger import Ledger

from .tutorial import CONFIG, KEY, LABEL, answering, failure, having, manager_of, raising


async def submitted(connector: type[PlatformConnector], tmp_path: Path) -> tuple[Ledger, BaseException | None]:
    """The ledger after one submission, and the error it ended with."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    error: BaseException | None = None
    async with manager_of(connector, ledger=ledger) as manager:
        await manager.connect("myplatform", KEY)
        try:
            await manager.submit_job("myplatform", CONFIG)
        except (PeftStudioError, asyncio.CancelledError) as raised:
            error = raised
    return ledger, error


async def test_the_intent_is_written_before_the_platform_is_called(tmp_path: Path) -> None:
    """Under the tag that the connector gets; the answer settles it."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    open_then = []

    async def submit_job(self, config):
        open_then.extend(intent.job_id for intent in ledger.open_intents())
        return f"job of {config.tag}"

    async with manager_of(having(submit_job=submit_job), ledger=ledger) as manager:
        await manager.connect("myplatform", KEY)
        job_id = await manager.submit_job("myplatform", CONFIG)

    assert [job_id] == [f"job of {tag}" for tag in open_then]
    assert [] == ledger.open_intents()
    assert job_id == ledger.jobs()[0].platform_id


@pytest.mark.parametrize(
    "error", [CapacityError("no A100"), InvalidConfig("too big"), NotImplementedError()], ids=lambda e: type(e).__name__
)
async def test_a_refusal_settles_the_intent(error: Exception, tmp_path: Path) -> None:
    """Nothing exists there, and the ledger says why."""
    ledger, raised = await submitted(having(submit_job=raising(error)), tmp_path)

    assert isinstance(raised, PeftStudioError)
    assert [] == ledger.open_intents()
    assert ["failed"] == [job.status for job in ledger.jobs()]
    assert str(raised) == ledger.jobs()[0].reason


@pytest.mark.parametrize(
    "method",
    [
        raising(TimeoutError()),
        raising(ConnectionResetError()),
        raising(ConnectionFailed("lost")),
        raising(KeyError("id")),
        raising(asyncio.CancelledError()),
        answering(None),
        answering(17),
    ],
    ids=["timeout", "reset", "ours", "bug", "cancelled", "none", "number"],
)
async def test_an_unknown_outcome_leaves_the_intent_open(method: Any, tmp_path: Path) -> None:
    """The job may exist: whoever reconciles will look for the tag."""
    ledger, raised = await submitted(having(submit_job=method), tmp_path)

    assert raised is not None
    assert 1 == len(ledger.open_intents())
    assert ["pending"] == [job.status for job in ledger.jobs()]


async def test_every_reviewer_is_heard(tmp_path: Path) -> None:
    """All problems of all plugins in one error; the platform and the ledger are not touched."""

    class Budget:
        @hookimpl
        def peft_studio_review_job(self, connector, config):
            return [Problem(message=f"{connector} is too dear"), Problem(message=f"{config.rank} is too high")]

    class Fine:
        @hookimpl
        def peft_studio_review_job(self):
            return None

    class Silent:
        @hookimpl
        def peft_studio_review_job(self):
            raise OSError("rules not found")

    ledger = Ledger(tmp_path / "ledger.sqlite3")
    async with manager_of(ledger=ledger, plugins=[Silent(), Fine(), Budget()]) as manager:
        await manager.connect("myplatform", KEY)
        with pytest.raises(InvalidConfig) as caught:
            await manager.submit_job("myplatform", CONFIG)

    assert ["myplatform is too dear", "8 is too high"] == [str(problem) for problem in caught.value.problems[:2]]
    assert "must review each job and cannot: rules not found; mend, deny or uninstall it" in str(
        caught.value.problems[2]
    )
    assert [] == ledger.jobs()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (["rank is too high"], "training config: rank is too high"),
        ([Problem(message="no GPU")], "training config: no GPU"),
        (False, "the connector does not accept the config"),
    ],
    ids=["texts", "problems", "false"],
)
async def test_a_connector_may_refuse_the_config_in_several_ways(answer: Any, message: str) -> None:
    """Raised, returned as a list, or plainly False; async or not."""
    for method in (answering(answer), lambda self, config: answer):  # noqa: ARG005
        error = await failure(having(validate_config=method), "submit_job", CONFIG)
        assert isinstance(error, InvalidConfig)
        assert f"{LABEL}: {message}" == str(error)
