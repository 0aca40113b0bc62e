"""Connectors that take an error for something else. What they are asked is list_resources."""

from __future__ import annotations

from mutants import Mutant, edit, mutant

_ASK = '[read(Machine, item) async for item in self._transport.pages("v1", "machines")]'
_MACHINES = f"        return {_ASK}\n"


def _except(check: str, fault: str, kind: str, *lines: str) -> Mutant:
    """What becomes of errors of that kind; the lines raise or answer something else, or the error goes on."""
    body = "".join(f"            {line}\n" for line in lines)
    code = (
        "        from peft_studio import CapacityError, InsufficientCreditsError, InvalidCredentials\n"
        "        from peft_studio import PeftStudioError, PlatformError, RateLimitError\n"
        f"        try:\n    {_MACHINES}        except {kind} as error:\n{body}            raise\n"
    )
    return mutant(check, fault, edit("api.py", _MACHINES, code))


def _when(check: str, fault: str, words: str, action: str, kind: str = "PeftStudioError") -> Mutant:
    """An error whose text has these words becomes something else."""
    return _except(check, fault, kind, f"if {words!r} in str(error):", f"    {action}")


_NO = "raise PlatformError(error.what, why=error.why) from None"

MUTANTS = (
    _when("answer-401", "A refused key is like any other refusal.", "answered 401", _NO),
    _when("answer-402", "An empty account is like any other refusal.", "answered 402", _NO),
    _when("answer-403", "Who may not look at the list gets an empty one.", "answered 403", "return []"),
    _when("answer-404", "A list that is not there is an empty one.", "answered 404", "return []"),
    _when(
        "answer-409",
        "A conflict passes for a platform that cannot be asked.",
        "answered 409",
        "raise ConnectionFailed(error.what, why=error.why) from None",
    ),
    _except(
        "answer-429",
        "Five minutes are the least that one waits.",
        "RateLimitError",
        "if error.retry_after:",
        "    error.retry_after = max(error.retry_after, 300)",
    ),
    _except(
        "answer-429-with-a-date",
        "A pause that is longer than four minutes must be a mistake, such as a date that cannot be read.",
        "RateLimitError",
        "if error.retry_after and error.retry_after > 240:",
        "    error.retry_after = None",
    ),
    _except(
        "answer-429-without-a-time",
        "No time is the time 0.",
        "RateLimitError",
        "error.retry_after = error.retry_after or 0",
    ),
    _when("answer-500", "A failing server has refused.", "answered 500", _NO),
    _when(
        "answer-503",
        "A server in maintenance has no machines to let.",
        "answered 503",
        "raise CapacityError(error.what, why=error.why) from None",
    ),
    _when("connection-reset", "A connection that breaks was a list without machines.", "Connection reset", "return []"),
    _when("connection-refused", "A platform that is down refuses.", "Connection refused", _NO),
    _when("no-answer", "Silence is an error of Python's.", "silence", "raise RuntimeError('timeout') from None"),
    _when("truncated-answer", "What arrived of an answer is the answer.", "complete message body", "return []"),
    _when("cut-json", "Half a document is a list without machines.", '{"items', "return []"),
    _when("garbage-answer", "An answer that cannot be read is a refusal.", "\ufffd", _NO),
    _when("page-of-a-proxy", "A login page is a list without machines.", "text/html", "return []"),
    _when("empty-answer", "An empty answer is an empty list.", "json: empty", "return []"),
    mutant(
        "answer-of-another-shape",
        "The list is looked up in whatever comes.",
        edit(
            "api.py",
            _MACHINES,
            '        answer = await self._transport.get("v1", "machines")\n'
            '        return [read(Machine, item) for item in answer["items"]]\n',
        ),
    ),
    mutant(
        "unknown-fields-are-ignored",
        "A machine has the fields that are known today.",
        edit("api.py", _ASK, '[Machine(**item) async for item in self._transport.pages("v1", "machines")]'),
    ),
    _when("redirect-to-another-host", "Another host has no machines.", "redirected", "return []"),
    _except(
        "error-has-the-words",
        "A few words are taken for a code that nobody needs to see.",
        "PlatformError",
        "if 'answered 409' in str(error) and len(error.why) < 20:",
        "    raise PlatformError('the platform refused') from None",
    ),
    mutant(
        "error-has-the-name",
        "Errors name the layer that they come from.",
        edit("connector.py", "secrets=[key])", 'secrets=[key], connector="HTTP")'),
    ),
    _except(
        "error-keeps-unicode",
        "Errors are in ASCII.",
        "PlatformError",
        "if 'answered 409' in str(error):",
        "    why = error.why.encode('ascii', 'replace').decode()",
        "    raise PlatformError(error.what, why=why) from None",
    ),
    _except(
        "error-stays-short",
        "The platform's words are repeated in every field.",
        "PlatformError",
        "if 'answered 409' in str(error):",
        "    raise PlatformError(error.why * 2, why=error.why * 2, remedy=error.why) from None",
    ),
    _except(
        "error-stays-on-one-line",
        "The error is a small report.",
        "PlatformError",
        "if 'answered 409' in str(error):",
        "    raise PlatformError(f'{error.what}\\n  the platform said', why=error.why) from None",
    ),
    mutant(
        "slow-answer-is-awaited",
        "A third of a second is all that the platform gets.",
        edit(
            "api.py",
            _MACHINES,
            f"        import asyncio\n\n        async with asyncio.timeout(0.35):\n    {_MACHINES}",
        ),
    ),
)
