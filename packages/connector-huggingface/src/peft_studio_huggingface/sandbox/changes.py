"""What a commit changes: the lines that a client sends, one after the other, on top of the files that are there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request

from peft_studio_huggingface.sandbox.card import card_data
from peft_studio_huggingface.sandbox.git import parents
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.repositories import File


async def read_lines(request: Request) -> AsyncIterator[dict[str, Any]]:
    """The JSON documents of the body, as they come: never more than one of them is held."""
    parts: list[bytes] = []
    async for block in request.stream():
        *ends, rest = block.split(b"\n")
        for end in ends:
            if line := b"".join([*parts, end]).strip():
                yield _document(line)
            parts = []
        parts.append(rest)
    if line := b"".join(parts).strip():
        yield _document(line)


class Changes:
    """The files as they will be."""

    def __init__(self, hub: Hub, files: Mapping[str, File]) -> None:
        self._hub = hub
        self.files = dict(files)

    def apply(self, key: str, value: Mapping[str, Any]) -> None:
        """One line. Raises `Refusal`."""
        operations = {
            "file": self._put,
            "lfsFile": self._put_lfs,
            "deletedFile": self._delete,
            "deletedFolder": self._delete_folder,
        }
        if key not in operations:
            raise Refusal(400, f"Invalid commit operation: {key}")
        operations[key](value)

    def check(self) -> None:
        """No name may be that of a file and of a folder. Raises `Refusal`."""
        for path in self.files:
            if taken := set(parents(path)) & set(self.files):
                raise Refusal(400, f"{path}: {min(taken)} is a file")

    def _put(self, value: Mapping[str, Any]) -> None:
        path = _path(value)
        try:
            content = value["content"].encode()
            content = base64.b64decode(content, validate=True) if value.get("encoding") == "base64" else content
        except binascii.Error as error:
            raise Refusal(400, f"{path}: the content is not base64") from error
        if path == "README.md":
            card_data(content.decode("utf-8", "replace"))
        self.files[path] = self._hub.file(path, content, lfs=False)

    def _put_lfs(self, value: Mapping[str, Any]) -> None:
        path, oid, size = _path(value), value["oid"], value.get("size")
        if size is None:  # a copy of what is there
            known = next((file for file in self.files.values() if file.sha256 == oid), None)
            size = -1 if known is None else known.size
        if not self._hub.store.has(oid, size):
            raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path}")
        self.files[path] = self._hub.lfs_file(path, oid, size)

    def _delete(self, value: Mapping[str, Any]) -> None:
        if self.files.pop(value["path"], None) is None:
            raise Refusal(404, f"A file with the name {value['path']} does not exist", "EntryNotFound")

    def _delete_folder(self, value: Mapping[str, Any]) -> None:
        folder = value["path"].rstrip("/") + "/"
        gone = [path for path in self.files if path.startswith(folder)]
        if not gone:
            raise Refusal(404, f"A folder with the name {folder} does not exist", "EntryNotFound")
        for path in gone:
            del self.files[path]


def _path(value: Mapping[str, Any]) -> str:
    path = str(value["path"])
    if any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise Refusal(400, f"Invalid path: {path}")
    return path


def _document(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError as error:
        raise Refusal(400, f"a line of the commit is not JSON: {error}") from error
