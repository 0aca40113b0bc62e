"""The Hub over plain HTTP: what is asked, and what its refusals mean.

A repository that the token may not see looks like one that is missing, and with some tokens like a bad token: 401. So
after a 401 to a question about a repository the token itself is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

from attrs import frozen

from peft_studio import ArtifactNotFound, InvalidCredentials, Observed, PeftStudioError, PlatformError, Transport
from peft_studio_huggingface.jobs_api import JobsApi
from peft_studio_huggingface.reading import mapping, required, text, texts
from peft_studio_huggingface.repository import Model, RemoteFile, RepositoryId
from peft_studio_huggingface.settings import Settings

TOKENS: Final = "look at Settings > Access Tokens on the Hub's page"
#: What a search tells of each model; `siblings`, every file of each, is not among it.
_SHORT: Final = ["author", "cardData", "createdAt", "downloads", "private", "tags"]


@frozen(kw_only=True)
class Account:
    """Whose token it is, and what it may do."""

    name: str
    organisations: tuple[str, ...]
    #: read, write or fineGrained; None when the Hub does not say.
    role: str | None
    #: Of a fine-grained token, as far as they could be found: the shape in which they are told is not documented.
    permissions: frozenset[str]
    can_pay: bool | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """GET /api/whoami-v2. Raises `ConnectionFailed` for another shape."""
        found = mapping(document)
        orgs = found.get("orgs")
        token = mapping(mapping(found.get("auth")).get("accessToken"))
        scopes = mapping(token.get("fineGrained")).get("scoped")
        named = [texts(mapping(scope).get("permissions")) for scope in scopes] if isinstance(scopes, list) else []
        can_pay = found.get("canPay")
        return cls(
            name=required(document, "name", "the account"),
            organisations=texts([mapping(org).get("name") for org in orgs]) if isinstance(orgs, list) else (),
            role=text(token.get("role")),
            permissions=frozenset(permission for scope in named for permission in scope),
            can_pay=can_pay if isinstance(can_pay, bool) else None,
        )


class HubApi:
    """One account."""

    def __init__(self, token: str, settings: Settings) -> None:
        self.settings = settings
        self._hub = Transport(settings.base_url, headers={"Authorization": f"Bearer {token}"}, secrets=[token])

    async def close(self) -> None:
        """Let go of every connection."""
        await self._hub.close()

    @property
    def observed(self) -> Observed | None:
        """What the Hub's answers say of themselves."""
        return self._hub.observed

    def jobs(self, namespace: str, account: Account) -> JobsApi:
        """Jobs of that namespace."""
        return JobsApi(self._hub, namespace, {account.name, *account.organisations} - {namespace})

    async def whoami(self) -> Account:
        """Raises `InvalidCredentials` for a token that is none. The Hub wants this to be asked rarely."""
        try:
            return Account.of(await self._hub.get("api", "whoami-v2"))
        except InvalidCredentials as error:
            error.remedy = f"the token is not known: {TOKENS}"
            raise

    async def models(self, query: Mapping[str, Any], limit: int) -> list[Model]:
        """The most downloaded of those that match, each once although the list moves while it is read."""
        wanted = {"sort": "downloads", "limit": limit, "expand": _SHORT, **query}
        pages = self._hub.pages("api", "models", items=None, by_link=True, query=wanted)
        found: dict[str, Model] = {}
        async with aclosing(pages) as items:
            async for item in items:
                model = Model.of(item)
                found.setdefault(model.id, model)
                if len(found) == limit:
                    break
        return list(found.values())

    async def model(self, id: RepositoryId) -> Model:
        """With its size. Raises `ArtifactNotFound` for one that is missing or hidden."""
        where = ("revision", id.revision) if id.revision else ()
        async with self._explained(id):
            path = ("api", "models", *id.segments, *where)
            return Model.of(await self._hub.get(*path, query={"blobs": True}, missing=ArtifactNotFound))

    async def files(self, id: RepositoryId, revision: str) -> list[RemoteFile]:
        """Every file of that revision. Raises `ArtifactNotFound`."""
        path, query = ("api", "models", *id.segments, "tree", revision), {"recursive": True, "expand": False}
        async with self._explained(id):
            pages = self._hub.pages(*path, items=None, by_link=True, query=query, missing=ArtifactNotFound)
            async with aclosing(pages) as items:
                return [RemoteFile.of(item) async for item in items if mapping(item).get("type") != "directory"]

    async def download(self, id: RepositoryId, commit: str, file: RemoteFile, destination: Path) -> None:
        """Bring one file of a commit; what lies in LFS is verified on its way."""
        path = (*id.segments, "resolve", commit, *file.path.split("/"))
        async with self._explained(id):
            await self._hub.download(*path, file=destination, sha256=file.sha256, size=file.size)

    async def create(self, id: RepositoryId, *, private: bool) -> None:
        """Make the repository. One that is there already is fine: twice is the same as once."""
        owner, _, name = id.name.partition("/")
        body = {"name": name, "organization": owner, "visibility": "private" if private else "public"}
        try:
            await self._hub.post("api", "repos", "create", json=body, idempotent=True)
        except InvalidCredentials as error:
            raise _may_not_write(error) from None
        except PlatformError as error:
            if error.http_status != HTTPStatus.CONFLICT:
                raise

    async def create_branch(self, id: RepositoryId, branch: str) -> None:
        """Begin a branch at the newest commit of the main one; one that is there already is fine."""
        try:
            path = ("api", "models", *id.segments, "branch", branch)
            await self._hub.post(*path, json={}, idempotent=True, may_be_empty=True)
        except InvalidCredentials as error:
            raise _may_not_write(error) from None
        except PlatformError as error:
            if error.http_status != HTTPStatus.CONFLICT:
                raise

    @asynccontextmanager
    async def _explained(self, id: RepositoryId) -> AsyncIterator[None]:
        """Refusals with what they mean for a repository."""
        try:
            yield
        except InvalidCredentials as error:
            raise await self._meaning(error, id) from None

    async def _meaning(self, error: InvalidCredentials, id: RepositoryId) -> PeftStudioError:
        if error.http_status == HTTPStatus.FORBIDDEN:
            error.remedy = (
                f"ask for access at {self.settings.base_url}/{id.name}, or {TOKENS}: its scopes may be too few"
            )
            return error
        await self.whoami()  # raises when it is the token after all
        hidden = ArtifactNotFound(f"there is no {id}, or this token may not see it", why=error.why)
        hidden.http_status, hidden.observed = error.http_status, error.observed
        return hidden


def _may_not_write(error: InvalidCredentials) -> InvalidCredentials:
    error.remedy = f"the token may not write there: {TOKENS}"
    return error
