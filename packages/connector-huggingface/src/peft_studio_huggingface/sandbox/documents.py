"""Repositories, commits and files as the Hub describes them in JSON."""

from __future__ import annotations

from typing import Any

from peft_studio_huggingface.sandbox.card import card_data, tags
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.repositories import Commit, File, Repository
from peft_studio_huggingface.sandbox.timeline import date_text


def model(hub: Hub, repository: Repository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """All that is known of a model at a commit."""
    card = card_of(hub, commit)
    config = {name: str(card[name]) for name in ("library_name", "pipeline_tag") if card.get(name)}
    return {
        "_id": repository.head.id[:24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.namespace,
        "sha": commit.id,
        "lastModified": date_text(repository.head.seconds),
        "createdAt": date_text(repository.created),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": repository.downloads,
        "likes": repository.likes,
        "trendingScore": 0,
        "tags": tags(card, list(commit.files)),
        **config,
        "cardData": card,
        "usedStorage": used_storage(repository),
        "siblings": [sibling(file, blobs=blobs) for file in commit.files.values()],
    }


def card_of(hub: Hub, commit: Commit) -> dict[str, Any]:
    """What the README of that commit says."""
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    return card_data(hub.store.path(readme.content).read_text(encoding="utf-8", errors="replace"))


def used_storage(repository: Repository) -> int:
    """Bytes of every file that any commit has, each content once."""
    sizes = {file.content: file.size for commit in repository.commits.values() for file in commit.files.values()}
    return sum(sizes.values())


def sibling(file: File, *, blobs: bool) -> dict[str, Any]:
    """A file in the description of a model."""
    if not blobs:
        return {"rfilename": file.path}
    plain = {"rfilename": file.path, "size": file.size, "blobId": file.blob}
    if file.sha256 is None:
        return plain
    return {**plain, "lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}}


def tree(repository: Repository, commit: Commit, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """What is in a folder of a commit, by path."""
    start = f"{folder}/" if folder else ""
    files = [file(each) for path, each in commit.files.items() if path.startswith(start)]
    folders = [directory(path, id) for path, id in commit.trees.items() if path.startswith(start) and path != folder]
    entries = [each for each in files + folders if recursive or "/" not in each["path"][len(start) :]]
    if expand:
        entries = [{**each, "lastCommit": _last_change(repository, commit, each)} for each in entries]
    return sorted(entries, key=lambda each: str(each["path"]))


def file(one: File) -> dict[str, Any]:
    """A file of a tree."""
    plain = {"type": "file", "oid": one.blob, "size": one.size, "path": one.path}
    if one.sha256 is None:
        return plain
    return {**plain, "lfs": {"oid": one.sha256, "size": one.size, "pointerSize": one.pointer_size}}


def directory(path: str, id: str) -> dict[str, Any]:
    """A folder of a tree."""
    return {"type": "directory", "oid": id, "size": 0, "path": path}


def commit_entry(commit: Commit) -> dict[str, Any]:
    """A line of the history."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.description,
        "date": date_text(commit.seconds),
        "authors": [{"user": commit.author}],
    }


def _last_change(repository: Repository, commit: Commit, entry: dict[str, Any]) -> dict[str, Any]:
    """The oldest commit from which on it has been as it is now."""
    path, id = entry["path"], entry["oid"]
    last = commit
    for each in repository.history(commit):
        one = each.files.get(path)
        if (each.trees.get(path) if one is None else one.blob) != id:
            break
        last = each
    return {"id": last.id, "title": last.title, "date": date_text(last.seconds)}
