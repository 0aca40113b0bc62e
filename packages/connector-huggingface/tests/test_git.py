"""The names of objects are those that git gives them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from peft_studio_huggingface.sandbox.git import commit_id, object_id, tree_ids

FILES = {"a.txt": b"a", "a/b/c.txt": b"deep", "a/b.txt": b"", "a.b/x": b"x", "ü.md": "ünïcödé".encode()}
DATE = "1767225600 +0000"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Made by git itself."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def git(repository: Path, *arguments: str) -> str:
    """What it says."""
    who = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "me")
    mail = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "me@users.noreply.sandbox")
    dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), DATE)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **who, **mail, **dates}
    command = ["git", "-C", str(repository), "-c", "core.autocrlf=false", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def test_blobs_trees_and_commits_have_the_names_of_git(repository):
    """Of files in folders whose order is not that of their letters, and of two commits."""
    for path, content in FILES.items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_bytes(content)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "First")
    git(repository, "commit", "-q", "--allow-empty", "-m", "Second")
    trees = tree_ids({path: object_id("blob", content) for path, content in FILES.items()})
    assert git(repository, "rev-parse", "HEAD^{tree}") == trees[""]
    assert git(repository, "rev-parse", "HEAD:a/b") == trees["a/b"]
    seconds = int(DATE.partition(" ")[0])
    first = commit_id(trees[""], None, "me", seconds, "First")
    assert git(repository, "rev-parse", "HEAD~1") == first
    assert git(repository, "rev-parse", "HEAD") == commit_id(trees[""], first, "me", seconds, "Second")
