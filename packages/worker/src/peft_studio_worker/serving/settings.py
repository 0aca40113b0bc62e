"""What a rented machine is told through its environment, checked at once, and secrets kept apart.

The environment is all that every platform passes on, and nothing of it may be read from the list of processes. What is
secret is taken out of it before any other process starts, and shows itself to nobody who prints the settings.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Self

from attrs import field, frozen

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem
from peft_studio.redaction.masking import Mask
from peft_studio_worker.serving.teardown import VARIABLE, Step, parse_steps

PREFIX: Final = "PEFT_STUDIO_WORKER_"
#: A mount that outlives the container on most platforms.
MOUNT: Final = Path("/workspace")


@frozen
class Push:
    """Where an artifact goes that nobody collects."""

    repo_id: str
    private: bool
    #: Variable that holds the registry's token.
    token_env: str


@frozen(kw_only=True)
class Settings:
    """Everything `serve` needs; its repr shows no secret."""

    job_id: str
    token: str = field(repr=False)
    root: Path
    host: str = "0.0.0.0"  # noqa: S104 -- a platform's proxy comes from outside
    port: int = 8000
    #: PEM texts; both or neither.
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    #: Seconds that the machine may live, from its creation.
    deadline: float | None = None
    created: datetime | None = None
    #: US dollars.
    max_cost: Decimal | None = None
    #: US dollars an hour.
    hourly_rate: Decimal | None = None
    #: Seconds that a job which runs no more waits for its client.
    keep: float = 3600.0
    #: Seconds that the machine waits for a job.
    wait: float = 1800.0
    #: Seconds between two attempts to tear the machine down.
    retry: float = 30.0
    push: Push | None = None
    teardown: tuple[Step, ...] = field(default=(), repr=False)
    #: Values that fill the teardown's `${NAME}`, and the registry's token.
    secrets: Mapping[str, str] = field(factory=dict, repr=False)

    @property
    def mask(self) -> Mask:
        """Takes every secret of the machine out of a text."""
        known = (self.token, self.key, *self.secrets.values())
        return Mask(secret for secret in known if secret)

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Read the settings, and remove from the environment what the training process must not see.

        Raises `InvalidConfig` with one sentence for each bad value; a secret is not repeated in it.
        """
        reader = _Reader(environment)
        settings = reader.settings()
        if reader.problems:
            raise InvalidConfig.from_problems("the worker cannot serve", reader.problems)
        for name in [name for name in environment if name.startswith(PREFIX)]:
            del environment[name]
        for step in settings["teardown"]:
            for name in step.variables:
                environment.pop(name, None)
        return cls(**settings)


class _Reader:
    """One pass over the environment; collects every fault."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[Problem] = []

    def settings(self) -> dict[str, Any]:
        """The arguments of `Settings`; without those that are not given."""
        found = {
            "job_id": self._required("JOB", _job_id),
            "token": self._required("TOKEN", _token),
            "root": self._optional("ROOT", Path) or _default_root(),
            "host": self._optional("HOST", str),
            "port": self._optional("PORT", _port),
            "certificate": self._optional("CERTIFICATE", _pem),
            "key": self._optional("KEY", _pem),
            "deadline": self._optional("DEADLINE", _seconds),
            "created": self._optional("CREATED", parse_time),
            "max_cost": self._optional("MAX_COST", _amount),
            "hourly_rate": self._optional("HOURLY_RATE", _amount),
            "keep": self._optional("KEEP", _seconds),
            "wait": self._optional("WAIT", _seconds),
            "retry": self._optional("RETRY", _seconds),
            "push": self._optional("PUSH", _push),
            "teardown": self._optional("TEARDOWN", parse_steps) or (),
        }
        if (found["certificate"] is None) != (found["key"] is None):
            self._complain("CERTIFICATE", "is needed together with KEY, or neither")
        found["secrets"] = self._secrets(found["teardown"], found["push"])
        return {name: value for name, value in found.items() if value is not None}

    def _secrets(self, steps: Iterable[Step], push: Push | None) -> dict[str, str]:
        names = {name for step in steps for name in step.variables}
        for name in sorted(names - set(self._environment)):
            self._complain("TEARDOWN", f"names the variable {name}, which is not set on this machine")
        names |= set() if push is None else {push.token_env}
        return {name: self._environment[name] for name in names if name in self._environment}

    def _required(self, name: str, read: Callable[[str], Any]) -> Any:
        if not self._environment.get(PREFIX + name):
            self._complain(name, "is missing")
            return None
        return self._optional(name, read)

    def _optional(self, name: str, read: Callable[[str], Any]) -> Any:
        text = self._environment.get(PREFIX + name)
        if not text:
            return None
        try:
            return read(text)
        except ValueError as error:
            self._complain(name, str(error))
            return None

    def _complain(self, name: str, fault: str) -> None:
        self.problems.append(Problem(field=name.lower(), message=f"{PREFIX}{name} {fault}"))


def parse_time(text: str) -> datetime:
    """A moment with its zone, in UTC. Raises `ValueError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be a time such as 2026-01-31T12:00:00Z, not {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"must name its zone, such as 2026-01-31T12:00:00Z, not {text!r}")
    return moment.astimezone(UTC)


def _default_root() -> Path:
    if MOUNT.is_dir() and os.access(MOUNT, os.W_OK):
        return MOUNT / "peft-studio"
    return Path.home() / ".peft-studio-worker"


def _job_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", text):
        raise ValueError(f"must be letters, digits, dots and dashes, at most 128, not {text!r}")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{32,}", text):
        raise ValueError("must be at least 32 letters, digits, dashes or underscores")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"must be a port up to 65535 (0 takes a free one), not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    amount = _amount(text)
    return float(amount)


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"must be a number, not {text!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"must be 0 or more, not {text!r}")
    return amount


def _pem(text: str) -> str:
    """A PEM text, or one in base64 for platforms that dislike newlines. What is in it is never repeated."""
    if "-----BEGIN" in text:
        return text
    try:
        decoded = base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    if "-----BEGIN" not in decoded:
        raise ValueError("must be a PEM text, or its base64")
    return decoded


def _push(text: str) -> Push:
    try:
        wanted = json.loads(text)
        push = Push(str(wanted["repo_id"]), bool(wanted.get("private", True)), str(wanted.get("token_env", "HF_TOKEN")))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError('must be JSON such as {"kind": "huggingface", "repo_id": "me/adapter"}') from None
    if wanted.get("kind") != "huggingface":
        raise ValueError(f"knows the kind 'huggingface' only, not {wanted.get('kind')!r}")
    if not VARIABLE.fullmatch("${" + push.token_env + "}"):
        raise ValueError(f"must name a variable in token_env, not {push.token_env!r}")
    return push
