"""A commit through `huggingface_hub`, as a program of its own: it reads a JSON document, and answers with one.

The library does what is its own protocol to keep, Xet and LFS. In a process of its own it reads its environment when it
is imported as we want it, a cancelled upload ends, and nothing of it stays in the memory, the log or on the screen of
the program that asked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

_LONGEST = 300


def main() -> None:
    """Read the task from stdin, and answer on stdout, which nobody else gets to write to."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = json.load(sys.stdin)
    answer = answer_to(task)
    json.dump(answer, answers)
    answers.close()


def answer_to(task: Mapping[str, Any]) -> dict[str, Any]:
    """The commit, or what became of it instead."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return {"commit": commit(task)}
    except Exception as error:  # noqa: BLE001 -- whatever it is, the program that asked must be told
        cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        response = cause.response
        is_hub = str(response.url).startswith(f"{task['endpoint']}/")  # storage knows no tokens
        told = {"status": response.status_code, "is_hub": is_hub, "retry_after": response.headers.get("retry-after")}
        return {**told, "why": _words(cause.server_message or cause, task)}
    is_lost = isinstance(cause, httpx2.HTTPError | OSError)
    kind = "lost" if is_lost else "invalid" if isinstance(cause, ValueError) else "failed"
    return {"kind": kind, "why": _words(f"{type(cause).__name__}: {cause}", task)}


def _cause(error: BaseException) -> BaseException:
    """What the library has wrapped into an error that says only which file it was."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def commit(task: Mapping[str, Any]) -> str:
    """Send the files on top of `parent`; the id of the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import http_backoff  # type: ignore[attr-defined]  # it is there, without an `as`

    # As often as everything else of ours is asked again; the library has no setting for it.
    defaults = http_backoff.__kwdefaults__ or {}
    if "max_retries" in defaults:
        defaults["max_retries"] = task["retries"]
    api = HfApi(endpoint=task["endpoint"], token=task["token"], library_name="peft-studio")
    files = [CommitOperationAdd(path, place) for path, place in task["files"].items()]
    made = api.create_commit(
        task["repository"],
        files,
        commit_message=task["message"],
        revision=task["revision"],
        parent_commit=task["parent"],
    )
    return made.oid


def _words(said: object, task: Mapping[str, Any]) -> str:
    line = " ".join(str(said).replace(task["token"], "***").split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


if __name__ == "__main__":
    main()
