"""API calls: addresses, answers, errors, what is repeated and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from peft_studio import Transport

SECRET = "sk-canary-0123456789"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform with a token, quick to give up on silence."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with Transport(f"{server.url}/v1", headers=headers, secrets=[SECRET], timeout=0.3, retries=2) as opened:
        yield opened


async def test_get_gives_the_parsed_answer(server: Any, transport: Transport) -> None:
    """Segments follow the base address, the headers go along."""
    server.steps = [server.reply(body={"id": "7"})]

    assert {"id": "7"} == await transport.get("jobs", "7", query={"full": True, "tag": ["a", "b"], "none": None})
    (request,) = server.requests
    assert "/v1/jobs/7?full=true&tag=a&tag=b" == request.target
    assert f"Bearer {SECRET}" == request.headers["authorization"]
