"""Starts the program that commits, and reads its answer as an error of our tree, or as a commit."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
    RateLimitError,
)
from peft_studio_huggingface.reading import mapping, text, whole

_MODULE: Final = "peft_studio_huggingface.hub_commit"
_RETRIES: Final = "PEFT_STUDIO_HTTP_RETRIES"
#: What the library would read from the user's environment against what it is told.
_DROPPED: Final = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "HF_DEBUG")
#: What the Hub means by a status; all others are a plain no.
_KINDS: Final[Mapping[int, type[PeftStudioError]]] = {
    HTTPStatus.UNAUTHORIZED: InvalidCredentials,
    HTTPStatus.FORBIDDEN: InvalidCredentials,
    HTTPStatus.PAYMENT_REQUIRED: InsufficientCreditsError,
}


@frozen(kw_only=True)
class Commit:
    """What is to be committed, in one commit."""

    endpoint: str
    token: str
    repository: str
    revision: str
    #: The commit that it goes on top of; another one there meanwhile is an error.
    parent: str
    message: str
    #: Where each file is here, by its path there.
    files: Mapping[str, Path]
    uses_xet: bool

    async def send(self) -> str:
        """The id of the commit. Raises what the Hub's refusal means; cancelled, the program ends."""
        _require_python()
        answer = await _answer(json.dumps(self._task()).encode(), self._environment())
        commit = text(answer.get("commit"))
        if commit is None:
            raise self._error(answer)
        return commit

    def _task(self) -> dict[str, Any]:
        names = ("endpoint", "token", "repository", "revision", "parent", "message")
        task = {name: getattr(self, name) for name in names}
        files = {path: str(place) for path, place in self.files.items()}
        return {**task, "files": files, "retries": _retries()}

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}
        xet = {} if self.uses_xet else {"HF_HUB_DISABLE_XET": "1"}
        return {**kept, **quiet, **xet, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def _error(self, answer: Mapping[str, Any]) -> PeftStudioError:
        what, why = f"the upload to {self.repository} failed", text(answer.get("why"))
        status = whole(answer.get("status"))
        if status is None:
            unasked: dict[str, type[PeftStudioError]] = {"invalid": InvalidConfig, "lost": ConnectionFailed}
            return unasked.get(str(answer.get("kind")), PlatformError)(what, why=why)
        error = _refusal(status, what, why, answer)
        error.http_status = status
        return error


def _refusal(status: int, what: str, why: str | None, answer: Mapping[str, Any]) -> PeftStudioError:
    """What a status means; that of another origin says nothing of the token."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ConnectionFailed(what, why=why)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        after = text(answer.get("retry_after")) or ""
        return RateLimitError(what, why=why, retry_after=float(after) if after.isdecimal() else None)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return PlatformError(what, why=why, remedy="somebody else has committed meanwhile: upload it again")
    kinds = _KINDS if answer.get("is_hub") else {}
    return kinds.get(status, PlatformError)(what, why=why)


async def _answer(task: bytes, environment: Mapping[str, str]) -> Mapping[str, Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", _MODULE, env=environment, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate(task)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = await process.wait()
    if code < 0:  # the system shuts down, or was short of memory: it may work the next time
        raise ConnectionFailed("the upload failed", why=f"the program that uploads got signal {-code}")
    try:
        return mapping(json.loads(output))
    except ValueError:
        why = f"the program that uploads ended with {code} and without an answer"
        raise PlatformError("the upload failed", why=why, remedy="pip install --upgrade huggingface_hub") from None


def _require_python() -> None:
    """Raises `PlatformError` in a frozen program, which would start itself again."""
    if getattr(sys, "frozen", False):
        remedy = "upload with an installed peft-studio"
        raise PlatformError("a frozen program has no Python that could upload", remedy=remedy)


def _retries() -> int:
    """As often as `Transport` asks again, which has refused what is no number."""
    return int(os.environ.get(_RETRIES) or 3)
