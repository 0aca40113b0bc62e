"""Names of objects as git computes them: the Hub is a git server, and clients compare its names with their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def object_id(kind: str, content: bytes) -> str:
    """The sha1 of an object: a header of its kind and length, then the content."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git itself keeps of a file in LFS. Source: the specification of git-lfs, docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_ids(blobs: Mapping[str, str]) -> dict[str, str]:
    """The name of every folder's tree, by path; the root is the empty path. `blobs` are the files' names by path."""
    folders: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, blob in blobs.items():
        folder, _, name = path.rpartition("/")
        for parent in parents(path):
            folders.setdefault(parent, {})
        folders[folder][name] = ("100644", blob)
    trees: dict[str, str] = {}
    for folder in sorted(folders, key=len, reverse=True):  # a folder's path is longer than its parent's
        trees[folder] = _tree_id(folders[folder])
        if folder:
            parent, _, name = folder.rpartition("/")
            folders[parent][name] = ("40000", trees[folder])
    return trees


def parents(path: str) -> list[str]:
    """The folders in which a file lies, the nearest first; the root is not among them."""
    folder = path.rpartition("/")[0]
    return [folder, *parents(folder)] if folder else []


def commit_id(tree: str, parent: str | None, author: str, seconds: int, message: str) -> str:
    """The name of a commit, written in UTC."""
    signature = f"{author} <{author}@users.noreply.sandbox> {seconds} +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else [])]
    lines += [f"author {signature}", f"committer {signature}", "", f"{message}\n"]
    return object_id("commit", "\n".join(lines).encode())


def _tree_id(entries: Mapping[str, tuple[str, str]]) -> str:
    def place(name: str) -> bytes:
        return f"{name}/".encode() if entries[name][0] == "40000" else name.encode()

    content = b""
    for name in sorted(entries, key=place):
        mode, oid = entries[name]
        content += f"{mode} {name}\0".encode() + bytes.fromhex(oid)
    return object_id("tree", content)
