"""The plainest question that a connector can be asked, whatever it declares; and how to wait for what must come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from peft_studio.session import Session
from peft_studio_testkit.compliance.expect import expect
from peft_studio_testkit.compliance.subject import Subject


async def probe(subject: Subject, session: Session) -> Any:
    """Ask something that only reads; something else where the answer is known without asking the platform."""
    method, arguments = reading(subject)
    before = len(subject.http.requests) if subject.is_remote else 0
    answer = await session.call(method, **arguments)
    if subject.is_remote and method == "list_resources" and len(subject.http.requests) == before:
        return await session.status(subject.sandbox.jobs.add(tag="ps-probe").id)
    return answer


def reading(subject: Subject) -> tuple[str, dict[str, Any]]:
    """A method that only reads, with its arguments."""
    if "training" in subject.features:
        return "list_resources", {}
    if "registry" in subject.features:
        return "search_models", {"query": ""}
    if "inference" in subject.features:
        return "list_deployments", {}
    if "tracking" in subject.features:
        return "get_metrics", {"job_id": subject.sandbox.runs.add().id}
    return "verify_connection", {}


async def nothing_open(subject: Subject) -> None:
    """Fail unless every connection to the platform is closed, or closes within moments."""
    if subject.is_remote:
        closed = await settles(lambda: subject.http.open_connections == 0)
        expect(closed, f"{subject.http.open_connections} connection(s) to the platform stayed open")


async def settles(is_so: Callable[[], bool], seconds: float = 3.0) -> bool:
    """True as soon as it is so; False when it has not become so in time."""
    for _ in range(int(seconds / 0.01)):
        if is_so():
            return True
        await asyncio.sleep(0.01)
    return is_so()
