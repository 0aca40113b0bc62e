"""Repositories of models: commits of whole trees, branches and tags that point at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen

from peft_studio_huggingface.sandbox.git import commit_id, pointer, tree_ids
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.timeline import unix_time

Gate = Literal[False, "auto", "manual"]


@frozen
class File:
    """One file of a commit."""

    path: str
    size: int
    #: Its name in git: of the content, or of the pointer to it.
    blob: str
    #: Its name in LFS, when it lies there.
    sha256: str | None = None

    @property
    def content(self) -> str:
        """Its name in the store."""
        return self.sha256 or self.blob

    @property
    def pointer_size(self) -> int:
        """Length of the pointer in git, bytes."""
        return len(pointer(self.content, self.size))


@frozen(kw_only=True)
class Commit:
    """A state of all files."""

    id: str
    parent: str | None
    title: str
    description: str
    author: str
    #: On the platform's clock.
    seconds: float
    files: Mapping[str, File]
    #: Names of the folders' trees.
    trees: Mapping[str, str]


@define(kw_only=True)
class Repository:
    """A model's repository. `main` is there from the start."""

    id: str
    created: float
    private: bool = False
    gated: Gate = False
    downloads: int = 0
    likes: int = 0
    #: Who may read the files although they are gated, beside the owner.
    granted: set[str] = field(factory=set)
    commits: dict[str, Commit] = field(factory=dict)
    branches: dict[str, str] = field(factory=dict)
    tags: dict[str, str] = field(factory=dict)

    @property
    def namespace(self) -> str:
        """The user or organisation that it belongs to."""
        return self.id.partition("/")[0]

    @property
    def head(self) -> Commit:
        """The last commit of `main`."""
        return self.commits[self.branches["main"]]

    def revision(self, name: str) -> Commit:
        """The commit that a branch, a tag or a whole id stands for. Raises `Refusal`."""
        id = self.branches.get(name) or self.tags.get(name) or name
        if id not in self.commits:
            raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return self.commits[id]

    def history(self, commit: Commit) -> list[Commit]:
        """That commit and all before it, the newest first."""
        found = [commit]
        while (parent := found[-1].parent) is not None:
            found.append(self.commits[parent])
        return found

    def commit(
        self, branch: str, files: Mapping[str, File], author: str, title: str, description: str, seconds: float
    ) -> Commit:
        """Put a new state on a branch."""
        parent = self.branches.get(branch)
        trees = tree_ids({path: file.blob for path, file in files.items()})
        message = f"{title}\n\n{description}" if description else title
        id = commit_id(trees[""], parent, author, unix_time(seconds), message)
        new = Commit(
            id=id, parent=parent, title=title, description=description, author=author, seconds=seconds,
            files=dict(sorted(files.items())), trees=trees,
        )  # fmt: skip
        self.commits[id] = new
        self.branches[branch] = id
        return new
