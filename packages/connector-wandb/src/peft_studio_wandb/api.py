"""W&B's wire: GraphQL, the file stream, and files behind signed addresses.

GraphQL says no in two ways: with a status, and with 200 and `errors`. Everything that is asked here may be asked twice:
runs and artifacts are created under names that the client chose, and lines are written at offsets.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from peft_studio import ConnectionFailed, InvalidCredentials, JobNotFound, Observed, PlatformError, Transport
from peft_studio_wandb import __version__, documents
from peft_studio_wandb.paths import RunPath
from peft_studio_wandb.settings import Settings

_KEYS = "look at User Settings > API keys on W&B's page"
_ENTITY = "look at the entity and the project: the key is valid, and may not do this there"
#: Of lists, the size that W&B's own client asks for.
_PAGE = 50


class WandbApi:
    """One account at one server."""

    def __init__(self, key: str, settings: Settings) -> None:
        basic = base64.b64encode(f"api:{key}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "User-Agent": f"peft-studio-wandb/{__version__}"}
        self._transport = Transport(settings.base_url, headers=headers, secrets=[key, basic])

    async def close(self) -> None:
        """Let go of every connection."""
        await self._transport.close()

    @property
    def observed(self) -> Observed | None:
        """What the answers say of themselves."""
        return self._transport.observed

    async def viewer(self) -> Mapping[str, Any]:
        """Whose key it is. Raises `InvalidCredentials`: a wrong key may also be answered 200 and null."""
        viewer = (await self.ask(documents.VIEWER)).get("viewer")
        if not isinstance(viewer, Mapping):
            raise InvalidCredentials("W&B does not know the key", remedy=_KEYS)
        return viewer

    async def ask(self, document: str, **variables: Any) -> Mapping[str, Any]:
        """The `data` of an answer without errors."""
        asked = {"query": document, "variables": variables}
        try:
            answer = await self._transport.post("graphql", json=asked, idempotent=True)
        except InvalidCredentials as error:
            raise _explained(error) from None
        content = answer if isinstance(answer, Mapping) else {}
        if content.get("errors") and not _is_viewer(content):
            raise PlatformError("W&B refused", why=_words(content["errors"]))
        data = content.get("data")
        if not isinstance(data, Mapping):
            raise ConnectionFailed("W&B's answer cannot be read", why="it has no data")
        return data

    async def stream(self, run: RunPath, body: Mapping[str, Any]) -> bool:
        """Send a piece of a run; True when somebody has pressed Stop. Raises `JobNotFound`."""
        try:
            answer = await self._transport.post(*run.stream, json=body, idempotent=True, missing=JobNotFound)
        except InvalidCredentials as error:
            raise _explained(error) from None
        return isinstance(answer, Mapping) and answer.get("stopped") is True

    # Runs and projects.

    async def run(self, run: RunPath) -> Mapping[str, Any]:
        """What W&B tells of it. Raises `JobNotFound`."""
        return _found(await self.ask(documents.RUN, **run.variables), run)

    async def rows(self, run: RunPath, first: int, end: int, most: int) -> list[str]:
        """The rows with first <= _step < end, as JSON texts; a sample of them where there are more than `most`."""
        window = {"first": first, "end": end, "samples": most}
        rows = _found(await self.ask(documents.HISTORY, **run.variables, **window), run).get("history")
        return list(rows or ())

    async def runs(
        self, entity: str, project: str, filters: str | None, limit: int | None = None
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """Runs of a project, newest first. Raises `PlatformError` when there is no such project."""
        place = {"entity": entity, "project": project, "filters": filters, "order": "-created_at"}

        def page(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
            if data.get("project") is None:
                what = f"W&B has no project {entity}/{project} that this key may see"
                raise PlatformError(what, remedy="leave out the project to list the runs of all")
            found: Mapping[str, Any] | None = data["project"].get("runs")
            return found

        async for edge in self._edges(documents.RUNS, page, place, size=min(limit or _PAGE, _PAGE)):
            yield edge["node"]

    async def projects(self, entity: str | None) -> AsyncGenerator[Mapping[str, Any]]:
        """Projects of an entity."""
        async for edge in self._edges(documents.PROJECTS, lambda data: data.get("models"), {"entity": entity}):
            yield edge["node"]

    # Artifacts.

    async def run_artifacts(self, run: RunPath) -> AsyncGenerator[Mapping[str, Any]]:
        """What a run has written. Raises `JobNotFound`."""
        pages = self._edges(
            documents.RUN_ARTIFACTS, lambda data: _found(data, run).get("outputArtifacts"), run.variables
        )
        async for edge in pages:
            yield edge["node"]

    async def artifact_files(self, artifact: str) -> AsyncGenerator[Mapping[str, Any]]:
        """Names and addresses of its files."""
        pages = self._edges(
            documents.ARTIFACT_FILES, lambda data: (data.get("artifact") or {}).get("files"), {"artifact": artifact}
        )
        async for edge in pages:
            yield edge["node"]

    async def put_file(self, address: str, headers: list[str], file: Path) -> None:
        """Send a file to a signed address, without the key."""
        sent = dict(header.split(":", 1) for header in headers)
        async with Transport(_without_query(address)) as storage:
            await storage.upload(
                file=file, query=_query(address), headers={name: value.strip() for name, value in sent.items()},
                idempotent=True, may_be_empty=True,
            )  # fmt: skip

    async def get_file(self, address: str, file: Path, size: int | None = None) -> None:
        """Bring a file from a signed address."""
        async with Transport(_without_query(address)) as storage:
            await storage.download(file=file, query=_query(address), size=size)

    async def _edges(
        self,
        document: str,
        page: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
        variables: Mapping[str, Any],
        *,
        size: int = _PAGE,
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """All edges of a list, page by page: the next one is after `endCursor`, or after the last edge's cursor."""
        after = None
        while True:
            answer = page(await self.ask(document, **variables, first=size, after=after)) or {}
            edges = answer.get("edges") or ()
            for edge in edges:
                yield edge
            info = answer.get("pageInfo") or {}
            following = info.get("endCursor") or (edges[-1].get("cursor") if edges else None)
            if not info.get("hasNextPage"):
                return
            if following in (None, after):
                raise ConnectionFailed("W&B's answer cannot be read", why="a list has no end")
            after = following


def _found(data: Mapping[str, Any], run: RunPath) -> Mapping[str, Any]:
    found = (data.get("project") or {}).get("run")
    if not isinstance(found, Mapping):
        raise JobNotFound(f"W&B has no run {run}")
    return found


def _is_viewer(content: Mapping[str, Any]) -> bool:
    """A key is good when W&B tells whose it is, whatever else it complains of."""
    return bool((content.get("data") or {}).get("viewer"))


def _explained(error: InvalidCredentials) -> InvalidCredentials | PlatformError:
    """A 403 knows the key: most often it means a wrong entity."""
    if error.http_status != HTTPStatus.FORBIDDEN:
        error.remedy = error.remedy or f"the key is not known: {_KEYS}"
        return error
    refused = PlatformError(error.what, why=error.why, remedy=_ENTITY, connector=error.connector)
    refused.http_status, refused.observed = error.http_status, error.observed
    return refused


def _words(errors: Any) -> str:
    said = [str(error.get("message")) for error in errors if isinstance(error, Mapping)] or [str(errors)]
    return "; ".join(said)[:300]


def _without_query(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _query(address: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address).query, keep_blank_values=True)
