"""Repositories in the Hub's words: how they are named, what is known of one, and what its files are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from attrs import frozen

from peft_studio import InvalidConfig, ModelInfo, PlatformError
from peft_studio_huggingface.reading import mapping, moment, required, text, texts, unreadable, whole

_ID: Final = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
_BLOCK: Final = 2**20


@frozen
class RepositoryId:
    """`owner/name`, and a revision of it: a branch, a tag or a commit."""

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, model_id: str) -> Self:
        """From `owner/name` or `owner/name@revision`. Raises `InvalidConfig`."""
        name, at, revision = model_id.partition("@")
        if not _ID.fullmatch(name) or {".", ".."} & set(name.split("/")) or (at and not revision.strip()):
            remedy = "write owner/name, or owner/name@revision"
            raise InvalidConfig(f"{model_id!r} is no id of a repository", remedy=remedy)
        return cls(name, revision or None)

    @property
    def segments(self) -> tuple[str, ...]:
        """Of a path."""
        return tuple(self.name.split("/"))

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


@frozen
class RemoteFile:
    """One file of a commit."""

    path: str
    #: Bytes.
    size: int
    #: The sha1 that git gives to its content; of what lies in LFS, to the pointer.
    oid: str
    #: Of what lies in LFS.
    sha256: str | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """An entry of a tree. Raises `ConnectionFailed` for another shape, `PlatformError` for an evil path."""
        path, size = required(document, "path", "a file"), whole(mapping(document).get("size"))
        if size is None:
            raise unreadable(f"the file {path} has no size")
        if (
            any(part in ("", ".", "..") for part in path.split("/"))
            or "\\" in path
            or PurePosixPath(path).is_absolute()
        ):
            raise PlatformError("the repository has a file that would not stay in its folder", why=repr(path))
        lfs = mapping(mapping(document).get("lfs")).get("oid")
        return cls(path, size, required(document, "oid", f"the file {path}"), text(lfs))

    def is_in(self, file: Path) -> bool:
        """True when that file has this content. Reads it only where its size does not tell."""
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        return self.digest(file) == (self.sha256 or self.oid)

    def digest(self, file: Path) -> str:
        """The digest of a file that this one is known by."""
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()


@frozen(kw_only=True)
class Model:
    """GET /api/models/{id}."""

    id: str
    #: The commit.
    sha: str | None
    is_private: bool
    author: str | None
    downloads: int | None
    created: datetime | None
    tags: tuple[str, ...]
    #: The header of its README.
    card: Mapping[str, Any]
    #: Bytes; known when the files were asked for.
    size: int | None
    #: The Hub's word for what it does, such as text-generation.
    task: str | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """From an answer, or an item of a search. Raises `ConnectionFailed` for another shape."""
        found = mapping(document)
        siblings = found.get("siblings")
        sizes = [whole(mapping(each).get("size")) for each in siblings] if isinstance(siblings, list) else []
        known = [size for size in sizes if size is not None]
        return cls(
            id=required(document, "id", "a model"),
            sha=text(found.get("sha")),
            is_private=found.get("private") is True,
            author=text(found.get("author")),
            downloads=whole(found.get("downloads")),
            created=moment(found.get("createdAt")),
            tags=texts(found.get("tags")),
            card=mapping(found.get("cardData")),
            size=sum(known) if known and len(known) == len(sizes) else None,
            task=text(found.get("pipeline_tag")),
        )

    @property
    def base_model(self) -> str | None:
        """What its card says; else its tags."""
        return next(iter((*texts(self.card.get("base_model")), *self._tagged("base_model:"))), None)

    @property
    def license(self) -> str | None:
        """What its card says; else its tags."""
        return next(iter((*texts(self.card.get("license")), *self._tagged("license:"))), None)

    def info(self, page: str) -> ModelInfo:
        """In our words; `page` is the address of the Hub."""
        return ModelInfo(
            id=self.id,
            name=self.id.rpartition("/")[2],
            base_model=self.base_model,
            author=self.author or self.id.rpartition("/")[0] or None,
            license=self.license,
            downloads=self.downloads,
            size_bytes=self.size,
            created=self.created,
            url=f"{page}/{self.id}",
            tags=self.tags,
        )

    def _tagged(self, start: str) -> list[str]:
        """`base_model:adapter:acme/tiny` as well as `base_model:acme/tiny`."""
        return [tag.rpartition(":")[2] for tag in self.tags if tag.startswith(start)]
