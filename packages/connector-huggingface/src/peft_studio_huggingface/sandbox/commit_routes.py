"""The commit API: the plan of an upload, the check of its README, and the commit itself."""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.attributes import is_lfs
from peft_studio_huggingface.sandbox.card import card_data
from peft_studio_huggingface.sandbox.changes import Changes, read_lines
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.repositories import Commit, Repository

#: Files of one plan.
_MOST: int = 256


class CommitRoutes:
    """Under `/api/models/{namespace}/{name}`, and `/api/validate-yaml`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        """All of them."""
        model = "/api/models/{namespace}/{name}"
        return [
            Route("/api/validate-yaml", self.validate, methods=["POST"]),
            Route(model + "/preupload/{revision:path}", self.plan, methods=["POST"]),
            Route(model + "/commit/{revision:path}", self.commit, methods=["POST"]),
            Route(model + "/xet-write-token/{revision:path}", self.no_xet),
            Route(model + "/xet-read-token/{revision:path}", self.no_xet),
        ]

    async def validate(self, request: Request) -> Response:
        """Whether the block at the top of a README is one."""
        card_data((await request.json())["content"])
        return JSONResponse({"errors": [], "warnings": []})

    async def plan(self, request: Request) -> Response:
        """For each file, the way it has to come, and the name of what is there already."""
        repository, _ = self._hub.writable(request)
        head = _head(repository, request)
        wanted = (await request.json())["files"]
        if len(wanted) > _MOST:
            raise Refusal(400, f"too many files at once: {len(wanted)}, at most {_MOST}")
        return JSONResponse({"files": [self._plan(head, each) for each in wanted], "commitOid": head.id})

    async def commit(self, request: Request) -> Response:
        """The files as the lines say, on top of a branch that has not moved on from `parentCommit`."""
        repository, token = self._hub.writable(request)
        branch = _branch(repository, request)
        header: dict[str, Any] = {}
        changes = Changes(self._hub, repository.revision(branch).files)
        async for line in read_lines(request):
            if line.get("key") == "header":
                header = line["value"]
                _compare(header, repository.revision(branch))
            elif not header:
                raise Refusal(400, "the first line of a commit is its header")
            else:
                changes.apply(line.get("key", ""), line["value"])
        if not header.get("summary"):
            raise Refusal(400, "a commit needs a summary")
        changes.check()
        new = self._finish(repository, branch, changes, header, token.account.name)
        url = f"{request.base_url}{repository.id}/commit/{new.id}"
        return JSONResponse({"success": True, "commitOid": new.id, "commitUrl": url, "hookOutput": ""})

    async def no_xet(self, request: Request) -> Response:
        """There is no Xet here, and a client that has it never takes another way by itself."""
        raise Refusal(400, "the sandbox has no Xet storage: set HF_HUB_DISABLE_XET=1, and files go through LFS")

    def _finish(
        self, repository: Repository, branch: str, changes: Changes, header: dict[str, Any], author: str
    ) -> Commit:
        head = repository.revision(branch)
        _compare(header, head)  # again: another commit may have come while this one was read
        if changes.files == head.files:
            return head
        title, description = header["summary"], header.get("description", "")
        return repository.commit(branch, changes.files, author, title, description, self._hub.clock.now())

    def _plan(self, head: Commit, wanted: dict[str, Any]) -> dict[str, Any]:
        path, size = wanted["path"], wanted["size"]
        lfs = self._hub.has_lfs and is_lfs(path, base64.b64decode(wanted["sample"]), size, self._attributes(head))
        plan = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        there = head.files.get(path)
        return plan if there is None else {**plan, "oid": there.content}

    def _attributes(self, head: Commit) -> str:
        file = head.files.get(".gitattributes")
        return "" if file is None else self._hub.store.path(file.content).read_text("utf-8", "replace")


def _head(repository: Repository, request: Request) -> Commit:
    return repository.revision(request.path_params["revision"])


def _branch(repository: Repository, request: Request) -> str:
    """Where the commit goes. Raises `Refusal`."""
    name = str(request.path_params["revision"])
    if request.query_params.get("create_pr") in ("1", "true"):
        raise Refusal(400, "the sandbox has no pull requests")
    repository.revision(name)
    if name not in repository.branches:
        raise Refusal(400, f"{name} is not a branch")
    return name


def _compare(header: dict[str, Any], head: Commit) -> None:
    if header.get("parentCommit") not in (None, head.id):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
