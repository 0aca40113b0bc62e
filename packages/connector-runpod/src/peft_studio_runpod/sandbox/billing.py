"""GET /v2/billing/pods: what each pod has cost, in buckets of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.bill import Rates
from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.specification import require_query
from peft_studio_runpod.sandbox.timeline import Timeline

#: A month and a year are stepped over by more than they can have, and then brought back to their first day.
_STEPS: Final = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=32),
    "year": timedelta(days=367),
}


class Billing:
    """The handler."""

    def __init__(self, fleet: Fleet, timeline: Timeline) -> None:
        self._fleet = fleet
        self._timeline = timeline
        #: The bills are so many seconds of the platform's clock behind.
        self.lag = 0.0

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/v2/billing/pods", self.pods)]

    async def pods(self, request: Request) -> Response:
        """A record for each pod and bucket that cost something."""
        query = require_query("/v2/billing/pods", request.query_params.multi_items())
        size = query.get("bucketSize", "day")
        start, end = self._window(query, size)
        records = list(self._records(start, end, size, query.get("podId")))
        echo = {"startTime": _text(start), "endTime": _text(end), "bucketSize": size, "podId": query.get("podId")}
        metadata = {
            "query": echo,
            "recordCount": len(records),
            "uniquePodCount": len({record["podId"] for record in records}),
            "totals": _sum(records),
        }
        return JSONResponse({"records": records, "metadata": metadata})

    def _window(self, query: Mapping[str, Any], size: str) -> tuple[datetime, datetime]:
        """Whole buckets."""
        if "lastN" in query and ("startTime" in query or "endTime" in query):
            raise Refusal(400, "lastN is mutually exclusive with startTime and endTime")
        now = self._timeline.date(self._timeline.clock.now())
        if "lastN" in query:
            start = floor(now, size)
            for _ in range(query["lastN"] - 1):
                start = floor(start - timedelta(seconds=1), size)
            return start, after(now, size)
        start = _date(query["startTime"]) if "startTime" in query else now - timedelta(days=30)
        end = _date(query["endTime"]) if "endTime" in query else now
        return floor(start, size), end if floor(end, size) == end else after(end, size)

    def _records(self, start: datetime, end: datetime, size: str, pod_id: str | None) -> Iterable[dict[str, Any]]:
        known = self._timeline.clock.now() - self.lag
        while start < end:
            until = after(start, size)
            span = self._timeline.seconds(start), min(self._timeline.seconds(until), known)
            for pod in self._fleet.ever:
                cost = pod.bill.between(*span)
                if cost.total and pod_id in (None, pod.id):
                    yield {"startTime": _text(start), "endTime": _text(until), "podId": pod.id, **_amounts(cost)}
            start = until


def floor(date: datetime, size: str) -> datetime:
    """The start of its bucket."""
    hour = date.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    starts = {
        "hour": hour,
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }
    return starts[size]


def after(date: datetime, size: str) -> datetime:
    """The start of the next bucket."""
    return floor(floor(date, size) + _STEPS[size], size)


def _amounts(cost: Rates) -> dict[str, float]:
    amounts = {"totalAmount": cost.total, "gpuAmount": cost.gpu, "cpuAmount": Decimal(0), "diskAmount": cost.disk}
    return {name: round(float(amount), 6) for name, amount in amounts.items()}


def _sum(records: list[dict[str, Any]]) -> dict[str, float]:
    return {name: sum(record[name] for record in records) for name in _amounts(Rates())}


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _text(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")
