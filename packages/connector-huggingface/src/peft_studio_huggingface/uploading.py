"""An adapter folder goes up: what has changed of it, in one commit, and a card where there is none.

What is there already is told from the Hub's list of files: content that is the same is not sent, and without anything
to send there is no commit.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from attrs import field, frozen

from peft_studio import ArtifactNotFound, InvalidConfig, InvalidCredentials, Problem
from peft_studio.artifacts import MANIFEST_NAME
from peft_studio_huggingface.api import TOKENS, Account, HubApi
from peft_studio_huggingface.card import Card
from peft_studio_huggingface.committing import Commit
from peft_studio_huggingface.portable import README, portable
from peft_studio_huggingface.reading import text, unreadable
from peft_studio_huggingface.repository import Model, RemoteFile, RepositoryId

MAIN: Final = "main"
#: Metadata that would be taken for missing as anything else, and send the upload elsewhere.
_TEXTS: Final = ("repo_id", "name", "revision", "message", "base_model", "license", "description")
_LEFT_HERE: Final = (".git", ".cache", "__pycache__")


@frozen(kw_only=True)
class Wish:
    """What the metadata of an upload ask for."""

    id: RepositoryId
    #: None leaves a repository that is there as it is, and makes a new one private.
    private: bool | None
    branch: str
    message: str
    metadata: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], source: Path, namespace: str) -> Self:
        """Read them. Raises `InvalidConfig` for an id that cannot be one, and for a value of another type."""
        wrong = {key: metadata[key] for key in _TEXTS if not isinstance(metadata.get(key), str | None)}
        if wrong:
            problems = [Problem(field=key, message=f"{key} must be a text, not {wrong[key]!r}") for key in wrong]
            raise InvalidConfig.from_problems("metadata of the upload", problems)
        name = text(metadata.get("repo_id")) or _as_name(text(metadata.get("name")) or source.resolve().name)
        id = RepositoryId.of(name if "/" in name else f"{namespace}/{name}")
        private = metadata.get("private")
        if private is not None and not isinstance(private, bool):
            raise InvalidConfig("private must be true or false", why=f"it is {private!r}")
        return cls(
            id=RepositoryId(id.name),
            private=private,
            branch=text(metadata.get("revision")) or id.revision or MAIN,
            message=text(metadata.get("message")) or "Upload with PEFT Studio",
            metadata=metadata,
        )


def files_in(source: Path) -> dict[str, Path]:
    """Every file by its path there. The manifest stays here: it is made anew by whoever downloads."""
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise InvalidConfig(f"there is nothing to upload: {source} does not exist")
    paths = {path.relative_to(source): path for path in sorted(source.rglob("*")) if path.is_file()}
    found = {place.as_posix(): path for place, path in paths.items() if not set(place.parts) & set(_LEFT_HERE)}
    found.pop(MANIFEST_NAME, None)
    if not found:
        raise InvalidConfig(f"there is nothing to upload: {source} has no files")
    return found


class Upload:
    """One upload of one folder or file."""

    def __init__(self, api: HubApi, account: Account, token: str) -> None:
        self._api = api
        self._account = account
        self._token = token

    async def run(self, source: Path, metadata: Mapping[str, Any]) -> str:
        """The id of the repository that has it all now."""
        files = await asyncio.to_thread(files_in, source)
        wish = Wish.of(metadata, source, self._api.settings.namespace or self._account.name)
        self._require_writer()
        head = await self._prepare(wish)
        there = {file.path: file for file in await self._api.files(wish.id, head)}
        is_folder = list(files.values()) != [source]
        if README in there:
            files.pop(README, None)  # somebody may have edited it there
        with tempfile.TemporaryDirectory(prefix="peft-studio-upload-") as place:
            files = await asyncio.to_thread(portable, files, metadata, Path(place))
            if is_folder and not {README} & {*files, *there}:
                files[README] = await self._card(wish, source, Path(place))
            changed = await asyncio.to_thread(_changed, files, there)
            if changed:
                await self._commit(wish, head, changed)
        return wish.id.name

    def _require_writer(self) -> None:
        if self._account.role == "read":
            raise InvalidCredentials("the token may only read", remedy=f"make one that may write: {TOKENS}")

    async def _prepare(self, wish: Wish) -> str:
        """The commit at the head of the branch; repository and branch are made where there are none."""
        model = await self._existing(wish.id)
        if model is None:
            await self._api.create(wish.id, private=wish.private is not False)
            model = await self._api.model(wish.id)
        if wish.private and not model.is_private:
            remedy = "make it private on the Hub's page, or choose another repo_id"
            raise InvalidConfig(f"{wish.id} is public", why="the upload is to be private", remedy=remedy)
        if wish.branch != MAIN:
            branch = RepositoryId(wish.id.name, wish.branch)
            model = await self._existing(branch)
            if model is None:
                await self._api.create_branch(wish.id, wish.branch)
                model = await self._api.model(branch)
        if model.sha is None:
            raise unreadable(f"{wish.id} has no sha")
        return model.sha

    async def _existing(self, id: RepositoryId) -> Model | None:
        try:
            return await self._api.model(id)
        except ArtifactNotFound:
            return None

    async def _card(self, wish: Wish, source: Path, place: Path) -> Path:
        """A card that is made of what the adapter's own record and the metadata say."""
        card = await asyncio.to_thread(Card.of, wish.metadata, source, wish.id.name)
        if card.license is None and card.is_base_on_hub:
            card = card.with_license_of(await self._base(str(card.base_model)))
        path = place / README
        path.write_text(card.render(), encoding="utf-8", newline="\n")
        return path

    async def _base(self, name: str) -> Model | None:
        """The base model as the Hub knows it; None where it does not, or does not let us see it."""
        try:
            return await self._api.model(RepositoryId(name))
        except (ArtifactNotFound, InvalidCredentials):
            return None

    async def _commit(self, wish: Wish, head: str, files: Mapping[str, Path]) -> None:
        settings = self._api.settings
        commit = Commit(
            endpoint=settings.base_url,
            token=self._token,
            repository=wish.id.name,
            revision=wish.branch,
            parent=head,
            message=wish.message,
            files=files,
            uses_xet=settings.uses_xet,
        )
        await commit.send()


def _changed(files: Mapping[str, Path], there: Mapping[str, RemoteFile]) -> dict[str, Path]:
    return {path: place for path, place in files.items() if path not in there or not there[path].is_in(place)}


def _as_name(title: str) -> str:
    """A title as the name of a repository: what it may not have is a hyphen."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", title)
    name = re.sub(r"-{2,}|\.{2,}", "-", name).strip("-.")[:96].rstrip("-.")
    if not name:
        raise InvalidConfig(f"{title!r} is no name for a repository", remedy="give a repo_id such as me/my-adapter")
    return name
