"""What becomes of the platform's refusals and failures: an error of ours, never an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
    RateLimitError,
)
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.probe import probe
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, network=True)

#: What the platform says in the checks.
WORDS = "the moon is full"


async def _error(subject: Subject, kinds: type | tuple[type, ...], fault: str, **how: Any) -> Any:
    """The error of a plain question while the fault lasts."""
    async with subject.connected() as session:
        subject.http.faults.add(fault, times=None, **how)
        error = await refused(probe(subject, session), kinds, f"a question answered with {fault} {_short(how)}")
        subject.http.faults.clear()
    return error


def _short(how: dict[str, Any]) -> str:
    return str(how.get("code", ""))


def _status(subject: Subject, code: int, **headers: str) -> dict[str, Any]:
    return {
        "code": code,
        "body": subject.http.error_body(WORDS),
        "headers": {k.replace("_", "-"): v for k, v in headers.items()},
    }


@check()
async def answer_401(subject: Subject) -> None:
    """401 is InvalidCredentials."""
    await _error(subject, InvalidCredentials, "status", **_status(subject, 401))


@check()
async def answer_403(subject: Subject) -> None:
    """403 is InvalidCredentials, or PlatformError where the platform means something else by it."""
    await _error(subject, (InvalidCredentials, PlatformError), "status", **_status(subject, 403))


@check()
async def answer_402(subject: Subject) -> None:
    """402 is InsufficientCreditsError."""
    await _error(subject, InsufficientCreditsError, "status", **_status(subject, 402))


@check()
async def answer_404(subject: Subject) -> None:
    """404 to a plain question is an error of ours, not an empty answer."""
    await _error(subject, PeftStudioError, "status", **_status(subject, 404))


@check()
async def answer_409(subject: Subject) -> None:
    """409 is PlatformError: the platform has answered, and the answer is no."""
    await _error(subject, PlatformError, "status", **_status(subject, 409))


@check()
async def answer_429(subject: Subject) -> None:
    """429 is RateLimitError with the seconds that the platform asks for."""
    error = await _error(subject, RateLimitError, "status", **_status(subject, 429, Retry_After="120"))
    equal(120, error.retry_after, "retry_after")


@check()
async def answer_429_with_a_date(subject: Subject) -> None:
    """Retry-After may be a date; retry_after is in seconds all the same."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    error = await _error(subject, RateLimitError, "status", **_status(subject, 429, Retry_After=date))
    expect(error.retry_after and 200 < error.retry_after <= 301, f"retry_after is {error.retry_after!r}, not about 300")


@check()
async def answer_429_without_a_time(subject: Subject) -> None:
    """Without Retry-After retry_after is None: unknown, not 0."""
    error = await _error(subject, RateLimitError, "status", **_status(subject, 429))
    equal(None, error.retry_after, "retry_after")


@check()
async def answer_500(subject: Subject) -> None:
    """500 is ConnectionFailed: the platform could not be asked."""
    await _error(subject, ConnectionFailed, "status", **_status(subject, 500))


@check()
async def answer_503(subject: Subject) -> None:
    """503 is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "status", **_status(subject, 503))


@check()
async def connection_reset(subject: Subject) -> None:
    """A connection that is reset is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "reset_before")


@check()
async def connection_refused(subject: Subject) -> None:
    """A platform that accepts no connection is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "refuse")


@check()
async def no_answer(subject: Subject) -> None:
    """A platform that does not answer is ConnectionFailed after PEFT_STUDIO_HTTP_TIMEOUT seconds."""
    with subject.environment(PEFT_STUDIO_HTTP_TIMEOUT="0.5", PEFT_STUDIO_HTTP_RETRIES="0"):
        await _error(subject, ConnectionFailed, "timeout")


@check()
async def truncated_answer(subject: Subject) -> None:
    """An answer that ends before its announced length is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "truncate")


@check()
async def cut_json(subject: Subject) -> None:
    """JSON that ends in the middle is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "cut_json")


@check()
async def garbage_answer(subject: Subject) -> None:
    """An answer that is no JSON at all is ConnectionFailed."""
    await _error(subject, ConnectionFailed, "garbage")


@check()
async def page_of_a_proxy(subject: Subject) -> None:
    """A web page in place of an answer, with status 200, is ConnectionFailed: it is not the platform that speaks."""
    await _error(subject, ConnectionFailed, "html")


@check()
async def empty_answer(subject: Subject) -> None:
    """An empty answer with status 200 is an error, not an empty list."""
    await _error(subject, (ConnectionFailed, PlatformError), "empty")


@check()
async def answer_of_another_shape(subject: Subject) -> None:
    """JSON of a shape that the platform does not document is an error of ours that says so, not a KeyError."""
    for body in ("a text", 7, [1], {"unexpected": True}):
        await _error(subject, (ConnectionFailed, PlatformError), "shape", body=body)


@check()
async def unknown_fields_are_ignored(subject: Subject) -> None:
    """A platform may add fields to its answers at any time."""
    async with subject.connected() as session:
        subject.http.faults.add("extra_fields", times=None)
        answer = await outcome(probe(subject, session))
    expect(not isinstance(answer, Exception), f"answers with more fields than are known gave {shown(answer)}")


@check()
async def redirect_to_another_host(subject: Subject) -> None:
    """An answer that leads to another host is an error: nobody else speaks for the platform."""
    await _error(subject, (ConnectionFailed, PlatformError), "redirect")


@check()
async def error_has_the_words(subject: Subject) -> None:
    """An error says why in the platform's own words."""
    error = await _error(subject, PeftStudioError, "status", **_status(subject, 409))
    expect(WORDS in str(error), f"the platform said {WORDS!r}, the error only {str(error)!r}")


@check()
async def error_has_the_name(subject: Subject) -> None:
    """An error names the connector."""
    error = await _error(subject, PeftStudioError, "status", **_status(subject, 409))
    expect((error.connector or "").startswith(subject.name), f"the error names {error.connector!r}")


@check()
async def error_keeps_unicode(subject: Subject) -> None:
    """The platform's words keep their letters."""
    words = "Guthaben erschöpft – 余额不足"
    error = await _error(subject, PeftStudioError, "status", code=409, body=subject.http.error_body(words))
    expect(words in str(error), f"the platform said {words!r}, the error {str(error)!r}")


@check()
async def error_stays_short(subject: Subject) -> None:
    """Pages of text from the platform are cut: an error is a sentence, 1,000 characters at most."""
    body = subject.http.error_body("long " * 20_000)
    error = await _error(subject, PeftStudioError, "status", code=409, body=body)
    expect(len(str(error)) <= 1000, f"the error has {len(str(error))} characters")


@check()
async def error_stays_on_one_line(subject: Subject) -> None:
    """What the platform says over many lines becomes one."""
    error = await _error(
        subject, PeftStudioError, "status", code=409, body=subject.http.error_body("one\ntwo\r\nthree")
    )
    expect("\n" not in str(error) and "\r" not in str(error), f"the error has several lines: {shown(str(error))}")


@check()
async def slow_answer_is_awaited(subject: Subject) -> None:
    """An answer for which the platform takes its time is an answer."""
    async with subject.connected() as session:
        subject.http.faults.add("delay", seconds=0.6, times=None)
        answer = await outcome(probe(subject, session))
    expect(not isinstance(answer, Exception), f"an answer after 0.6 s gave {shown(answer)}")
