"""Search of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox import documents
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.pages import page
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.reading_routes import expanded, is_true

_SORTS: Final = ("downloads", "likes", "lastModified", "createdAt", "trendingScore")
_KNOWN: Final = {
    "search", "author", "filter", "sort", "direction", "limit", "full", "config", "cardData", "expand", "gated",
    "pipeline_tag", "trained_dataset", "cursor",
}  # fmt: skip


class SearchRoutes:
    """`/api/models`."""

    def __init__(self, hub: Hub, page_size: Callable[[], int]) -> None:
        self._hub = hub
        self._page_size = page_size

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/api/models", self.search)]

    async def search(self, request: Request) -> Response:
        """What agrees with every filter and may be seen, the highest first."""
        if unknown := set(request.query_params) - _KNOWN:
            raise Refusal(400, f"the sandbox does not search by {', '.join(sorted(unknown))}")
        token = self._hub.accounts.token(request)
        visible = [each for each in self._hub.values() if self._hub.is_visible(each, token)]
        models = [documents.model(self._hub, each, each.head) for each in visible]
        found = [model for model in models if _agrees(request, model)]
        sort = request.query_params.get("sort", "trendingScore")
        if sort not in _SORTS:
            raise Refusal(400, f"Invalid sort parameter: {sort}")
        found.sort(key=lambda model: (model[sort], model["createdAt"]), reverse=True)
        size = min(self._page_size(), _limit(request))
        return page(request, [expanded(request, _short(request, model)) for model in found], size)


def _agrees(request: Request, model: dict[str, Any]) -> bool:
    query = request.query_params
    filters = [name for value in query.getlist("filter") for name in value.split(",")]
    filters += [f"dataset:{name}" for name in query.getlist("trained_dataset")]
    return (
        all(word.lower() in model["id"].lower() for word in query.get("search", "").split())
        and query.get("author", model["author"]) == model["author"]
        and query.get("pipeline_tag") in (None, model.get("pipeline_tag"))
        and ("gated" not in query or is_true(request, "gated") == bool(model["gated"]))
        and set(filters) <= set(model["tags"])
    )


def _limit(request: Request) -> int:
    limit = request.query_params.get("limit", "1000")
    if not limit.isdecimal() or int(limit) < 1:
        raise Refusal(400, f"Invalid limit parameter: {limit}")
    return int(limit)


def _short(request: Request, model: dict[str, Any]) -> dict[str, Any]:
    """A hit without what was not asked for."""
    if "expand" in request.query_params:
        return model
    hidden = {"usedStorage"}
    hidden |= set() if is_true(request, "full") else {"siblings", "sha", "lastModified", "author"}
    hidden |= set() if is_true(request, "cardData") else {"cardData"}
    return {name: value for name, value in model.items() if name not in hidden}
