"""What checks are written with: expectations that fail with a sentence about the connector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from peft_studio import PeftStudioError
from peft_studio.session import ConnectorFault
from peft_studio_testkit.compliance.check import CheckFailed


def expect(condition: object, otherwise: str) -> None:
    """Fail with the sentence `otherwise` unless `condition` is true."""
    if not condition:
        raise CheckFailed(otherwise)


def equal(expected: Any, actual: Any, what: str) -> None:
    """Fail unless both are equal."""
    expect(expected == actual, f"{what} is {shown(actual)}, not {shown(expected)}")


async def raised_by(awaitable: Awaitable[Any], what: str) -> PeftStudioError:
    """The error of ours that the call ends with; fails when it ends otherwise."""
    try:
        answer = await awaitable
    except ConnectorFault as error:
        raise CheckFailed(f"{what} ended in an error of no documented kind: {error}") from error
    except PeftStudioError as error:
        return error
    raise CheckFailed(f"{what} answered {shown(answer)} instead of raising an error")


async def refused(awaitable: Awaitable[Any], kinds: type | tuple[type, ...], what: str) -> Any:
    """The error that the call ends with, which must be one of `kinds`."""
    error = await raised_by(awaitable, what)
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    names = " or ".join(kind.__name__ for kind in wanted)
    expect(isinstance(error, wanted), f"{what} raised {type(error).__name__} ({error}), not {names}")
    return error


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """What the call gives: its answer, or the error of ours that it raises."""
    try:
        return await awaitable
    except PeftStudioError as error:
        return error


async def collected(stream: AsyncIterator[Any]) -> list[Any]:
    """Everything that the stream gives."""
    return [item async for item in stream]


async def first(stream: Any, count: int = 1) -> list[Any]:
    """The first items of a stream, which is then closed."""
    items = []
    try:
        async for item in stream:
            items.append(item)
            if len(items) == count:
                break
    finally:
        await stream.aclose()
    return items


async def within(seconds: float, awaitable: Awaitable[Any], what: str) -> Any:
    """The answer, which must come in that time."""
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except TimeoutError as error:
        if isinstance(error, PeftStudioError):
            raise
        raise CheckFailed(f"{what} had not ended after {seconds:g} s") from None


def shown(value: Any, longest: int = 200) -> str:
    """A value for a sentence."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
