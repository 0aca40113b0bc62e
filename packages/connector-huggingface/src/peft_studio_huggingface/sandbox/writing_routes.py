"""What changes a repository as a whole: create, delete, rename, settings, branches and tags."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.problems import Refusal


class WritingRoutes:
    """Under `/api/repos` and `/api/models/{namespace}/{name}`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        """All of them."""
        model = "/api/models/{namespace}/{name}"
        return [
            Route("/api/repos/create", self.create, methods=["POST"]),
            Route("/api/repos/delete", self.delete, methods=["DELETE"]),
            Route("/api/repos/move", self.move, methods=["POST"]),
            Route(model + "/settings", self.settings, methods=["PUT"]),
            Route(model + "/branch/{reference:path}", self.branch, methods=["POST", "DELETE"]),
            Route(model + "/tag/{reference:path}", self.tag, methods=["POST"]),
            Route(model + "/tag/{reference:path}", self.remove_tag, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """A new repository; 409 names the one that is there."""
        body = await request.json()
        id = self._id(request, body)
        self._hub.may_write(request, id.partition("/")[0])
        url = f"{request.base_url}{id}"
        if id in self._hub:
            raise Refusal(409, f"You already created this model repo: {id}", url=url)
        private = body.get("visibility", "private" if body.get("private") else "public") == "private"
        self._hub.create(id, private=private)
        return JSONResponse({"url": url, "name": id, "id": id})

    async def delete(self, request: Request) -> Response:
        """Gone for good."""
        id = self._id(request, await request.json())
        self._hub.find(id, self._hub.accounts.token(request))
        self._hub.may_write(request, id.partition("/")[0])
        self._hub.delete(id)
        return JSONResponse({})

    async def move(self, request: Request) -> Response:
        """Another name. No redirect is left at the old one."""
        body = await request.json()
        self._hub.find(body["fromRepo"], self._hub.accounts.token(request))
        for id in (body["fromRepo"], body["toRepo"]):
            self._hub.may_write(request, id.partition("/")[0])
        if body["toRepo"] in self._hub:
            raise Refusal(409, f"{body['toRepo']} exists already")
        self._hub.move(body["fromRepo"], body["toRepo"])
        return JSONResponse({})

    async def settings(self, request: Request) -> Response:
        """Who sees it, and whether it has a gate."""
        repository, _ = self._hub.writable(request)
        body = await request.json()
        repository.private = body.get("visibility", "private" if repository.private else "public") == "private"
        repository.gated = body.get("gated", repository.gated)
        return JSONResponse({"private": repository.private, "gated": repository.gated})

    async def branch(self, request: Request) -> Response:
        """Begin one at a revision, or take one away."""
        repository, _ = self._hub.writable(request)
        name = _reference(request)
        if request.method == "DELETE":
            return _remove(repository.branches, name)
        if name in repository.branches:
            raise Refusal(409, f"Reference {name} already exists")
        start = (await _body(request)).get("startingPoint", "main")
        repository.branches[name] = repository.revision(start).id
        return JSONResponse({})

    async def tag(self, request: Request) -> Response:
        """Name a revision for good."""
        repository, _ = self._hub.writable(request)
        name = (await _body(request))["tag"]
        if name in repository.tags:
            raise Refusal(409, f"Tag reference {name} already exists")
        repository.tags[name] = repository.revision(request.path_params["reference"]).id
        return JSONResponse({})

    async def remove_tag(self, request: Request) -> Response:
        """Take a name away."""
        repository, _ = self._hub.writable(request)
        return _remove(repository.tags, request.path_params["reference"])

    def _id(self, request: Request, body: dict[str, Any]) -> str:
        if (kind := body.get("type") or "model") != "model":
            raise Refusal(400, f"the sandbox has no repositories of the type {kind}")
        namespace = body.get("organization") or self._hub.accounts.known(request).account.name
        return f"{namespace}/{body['name']}"


def _reference(request: Request) -> str:
    name = str(request.path_params["reference"])
    if "/" in name or (name == "main" and request.method == "DELETE"):
        raise Refusal(400, f"the sandbox does not do that to a branch {name}")
    return name


def _remove(references: dict[str, str], name: str) -> Response:
    if references.pop(name, None) is None:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return JSONResponse({})


async def _body(request: Request) -> dict[str, Any]:
    return dict(await request.json()) if await request.body() else {}
