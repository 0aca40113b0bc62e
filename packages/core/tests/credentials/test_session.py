"""What a connector answers, raises and streams leaves core without the key, whatever it says."""

from __future__ import annotations

from typing import Any

import pytest

from peft_studio import ConnectionFailed, InvalidConfig, InvalidCredentials, PeftStudioError, PlatformError, Problem
from peft_studio.hookspecs import hookimpl

from ..plugins.tutorial import answering, having, manager_of, raising  # noqa: TID252 -- tests are no package with a name

KEY = "sk-canary-0123456789"


async def failure(method: str, *arguments: Any, **members: Any) -> PeftStudioError:
    """The error of one call."""
    async with manager_of(having(**{"connect": answering(True)} | members)) as manager:
        try:
            await manager.connect("myplatform", {"api_key": KEY})
            await getattr(manager, method)("myplatform", *arguments)
        except PeftStudioError as error:
            return error
    pytest.fail("nothing was raised")


def said(error: BaseException | None) -> str:
    """All its texts, and those of its causes."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *getattr(error, "__notes__", ())]
        error = error.__cause__
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("get_job_status", ["job"], "x" * 40 + KEY),
        ("fetch_artifact", ["job"], "x" * 40 + KEY),
        ("list_resources", [], ["x" * 40 + KEY]),
    ],
    ids=["status", "kind", "item"],
)
async def test_an_answer_that_is_refused_shows_no_half_of_the_key(method: str, arguments: Any, answer: Any) -> None:
    """It is cut to be shown, and masked before that."""
    error = await failure(method, *arguments, **{method: answering(answer)})

    assert f"{method} answered 'xxxx" in str(error)
    assert "canary" not in said(error)


class SaysItself(PeftStudioError):
    """One of ours that makes its sentence anew each time."""

    def __str__(self) -> str:
        return f"the key is {KEY}"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (PlatformError(KEY, why=KEY, remedy=KEY), PlatformError),
        (InvalidConfig.from_problems("x", [Problem(message=KEY)]), InvalidConfig),
        (SaysItself("x"), PlatformError),
        (TimeoutError(KEY), ConnectionFailed),
        (KeyError(KEY), PlatformError),
        (SystemExit(KEY), PlatformError),
    ],
    ids=["ours", "problems", "unmaskable", "network", "foreign", "exit"],
)
async def test_an_error_leaves_without_the_key(raised: BaseException, kind: type[PeftStudioError]) -> None:
    """In none of its texts, notes and causes; its kind stays."""
    raised.add_note(KEY)
    raised.__cause__ = ValueError(KEY)
    error = await failure("get_job_status", "job", get_job_status=raising(raised))

    assert isinstance(error, kind)
    assert "***" in said(error)
    assert "canary" not in said(error)


async def test_a_refusal_to_connect_does_not_repeat_the_key() -> None:
    """It is what platforms say most often: the key … is not known."""
    error = await failure("get_job_status", "job", connect=raising(ValueError(f"{KEY} is not known")))

    assert isinstance(error, InvalidCredentials)
    assert str(error).endswith("the platform refused the credentials: *** is not known")


async def test_lines_and_events_are_masked_as_they_come() -> None:
    """Whoever reads them, observers included."""

    async def stream_logs(self: Any, job_id: str) -> Any:
        yield f"export KEY={KEY}"

    seen = []

    class Observer:
        @hookimpl
        def peft_studio_job_event(self, connector: str, event: Any) -> None:
            seen.append(event)

    changed = having(connect=answering(True), stream_logs=stream_logs, get_job_status=answering("completed"))
    async with manager_of(changed, plugins=[Observer()]) as manager:
        await manager.connect("myplatform", {"api_key": KEY})
        lines = [line async for line in manager.stream_logs("myplatform", "job")]
        events = [event async for event in manager.stream_events("myplatform", "job")]

    assert ["export KEY=***"] == lines
    assert "export KEY=***" == events[0].data["message"] == seen[0].data["message"]


async def test_a_vault_that_fails_with_a_key_in_its_words_is_noted_without_it() -> None:
    """Here the key of another field, which was found before."""

    class Vault:
        @hookimpl
        def peft_studio_credential(self, field: str) -> str:
            raise PermissionError(f"no {field} for {KEY}")

    async with manager_of(having(connect=answering(True)), plugins=[Vault()]) as manager:
        await manager.connect("myplatform", {"api_key": KEY})
        assert manager._from_vault("myplatform", "other") is None
        (failed,) = manager.hook_failures

    assert "no other for ***" == str(failed.error)
