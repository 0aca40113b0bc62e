"""One connected connector, called safely: arguments by name, errors in our tree, answers in our types.

A connector is third-party code. What it raises becomes a `PeftStudioError` that names it; what it answers is checked
before anybody relies on it. Cancellation passes through untouched.
"""

from __future__ import annotations

import errno
import inspect
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import UnionType
from typing import Any

from peft_studio._declared import Declared, declaring
from peft_studio.connector import PlatformConnector
from peft_studio.errors import (
    ArtifactNotFound,
    ConnectionFailed,
    IncompleteList,
    InvalidConfig,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
    UnsupportedCapability,
)
from peft_studio.manifest import Manifest
from peft_studio.models import JobStatus, Observed, Problem
from peft_studio.redaction import mask, redacted
from peft_studio.redaction.errors import redacted_error
from peft_studio.secret import Secret

_NETWORK = (TimeoutError, ConnectionError, socket.gaierror, ssl.SSLError)
_NETWORK_NUMBERS = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}


class ConnectorFault(PlatformError):
    """The connector itself went wrong: an error of no documented kind, or an answer of the wrong type.

    After it nobody knows what the platform did, which is why a submission that ends so stays open in the ledger.
    """


class Session:
    """A connector instance and the name that errors give it; its transport keeps to what `manifest` declares."""

    def __init__(
        self,
        connector: type[PlatformConnector],
        label: str,
        credentials: Mapping[str, str] | Mapping[str, Secret],
        manifest: Manifest | None = None,
    ) -> None:
        self.label = label
        self._credentials = {field: Secret(value) for field, value in credentials.items()}
        values = {field: secret.reveal() for field, secret in self._credentials.items()}
        self._declared = None if manifest is None else Declared.of(manifest, values)
        with self._translated("__init__"):
            self.connector = connector()

    def was_opened_with(self, credentials: Mapping[str, Secret]) -> bool:
        """True when these are the credentials of this session."""
        return self._credentials == dict(credentials)

    async def open(self) -> None:
        """Connect, or leave nothing behind. Raises `InvalidCredentials` when the connector says no."""
        try:
            revealed = {field: secret.reveal() for field, secret in self._credentials.items()}
            self._require_yes(await self.ask("connect", bool, credentials=revealed))
        except BaseException as error:
            await self._close_after(error)
            raise

    async def close(self) -> None:
        """Disconnect; what the connector returns does not matter."""
        await self.call("disconnect")

    async def call(self, method: str, /, **arguments: Any) -> Any:
        """The connector's answer, awaited where it is awaitable."""
        with self._translated(method):
            answer = self._method(method)(**arguments)
            return await answer if inspect.isawaitable(answer) else answer

    async def ask(self, method: str, kind: type | UnionType, /, **arguments: Any) -> Any:
        """The connector's answer, which must be a `kind`."""
        return self._expect(method, await self.call(method, **arguments), kind)

    async def ask_list(self, method: str, kind: type, /, **arguments: Any) -> list[Any]:
        """The connector's answer, which must be a list, and each of its items a `kind`."""
        try:
            items: list[Any] = await self.ask(method, list, **arguments)
        except IncompleteList as error:
            self._require_each(method, error.found, kind)
            raise
        self._require_each(method, items, kind)
        return list(items)

    def _require_each(self, method: str, items: Sequence[Any], kind: type) -> None:
        for number, item in enumerate(items, start=1):
            if not isinstance(item, kind):
                what = f"{method} answered {_shown(item)} as item {number} of {len(items)}"
                raise self._fault(what, f"each must be {kind.__name__}")

    def observed(self) -> Observed | None:
        """What the platform's answers have said of themselves; None for a connector that does not listen."""
        with self._translated("observed"):
            answer = getattr(self.connector, "observed", None)
        found: Observed | None = self._expect("observed", answer, Observed | None)
        return found

    async def status(self, job_id: str) -> JobStatus:
        """The job's status; a plain string is fine when it is the name of one."""
        answer = await self.call("get_job_status", job_id=job_id)
        try:
            return JobStatus(answer)
        except ValueError:
            why = f"the statuses are {', '.join(JobStatus)}"
            raise self._fault(f"get_job_status answered {_shown(answer)}", why) from None

    async def stream(self, method: str, /, **arguments: Any) -> AsyncGenerator[Any]:
        """What the connector yields, one by one; its generator is closed when the reader stops."""
        source = await self.call(method, **arguments)
        if not hasattr(source, "__aiter__"):
            raise self._fault(f"{method} answered {type(source).__name__}", "it must be an async iterator")
        iterator = aiter(source)
        try:
            while True:
                with self._translated(method):
                    try:
                        item = await anext(iterator)
                    except StopAsyncIteration:
                        return
                yield redacted(item)
        finally:
            if hasattr(iterator, "aclose"):
                await iterator.aclose()

    async def validate(self, config: Any) -> None:
        """Let the connector look at the config. Problems may be raised, or returned as a list."""
        if mask and mask.hides(json.dumps(config.to_dict(), ensure_ascii=False)):
            remedy = "take it out: configs are kept in the ledger and sent to platforms"
            raise InvalidConfig("the config holds a secret that is in use", remedy=remedy)
        answer = await self.call("validate_config", config=config)
        if answer is False:
            raise InvalidConfig("the connector does not accept the config", connector=self.label)
        if isinstance(answer, list | tuple) and answer:
            problems = [found if isinstance(found, Problem) else Problem(message=str(found)) for found in answer]
            error = InvalidConfig.from_problems("training config", problems)
            error.connector = self.label
            raise error

    def offers(self, method: str) -> bool:
        """True when the connector has this method of its own."""
        own = getattr(type(self.connector), method, None)
        return own is not None and own is not getattr(PlatformConnector, method, None)

    def takes(self, method: str, argument: str) -> bool:
        """True when the connector's method names an argument that it need not take."""
        with self._translated(method):
            return argument in inspect.signature(self._method(method)).parameters

    def _method(self, name: str) -> Any:
        method = getattr(self.connector, name, None)
        if method is None:
            raise UnsupportedCapability(f"it has no {name}", connector=self.label)
        return method

    def _require_yes(self, accepted: bool) -> None:
        if not accepted:
            raise InvalidCredentials("the platform refused the credentials", connector=self.label)

    def _expect(self, method: str, answer: Any, kind: type | UnionType) -> Any:
        if isinstance(answer, kind):
            return answer
        expected = kind.__name__ if isinstance(kind, type) else str(kind)
        raise self._fault(f"{method} answered {_shown(answer)}", f"it must answer {expected}")

    def _fault(self, what: str, why: str) -> ConnectorFault:
        return ConnectorFault(what, why=why, remedy="report it to the author of the connector", connector=self.label)

    async def _close_after(self, error: BaseException) -> None:
        """A connection that failed is closed too; a second failure is only noted beside the first."""
        try:
            await self.close()
        except PeftStudioError as second:
            error.add_note(f"disconnect failed as well: {second}")

    @contextmanager
    def _translated(self, method: str) -> Iterator[None]:
        try:
            with declaring(self._declared):
                yield
        except PeftStudioError as error:
            error.connector = error.connector or self.label
            masked = redacted_error(error)
            if masked is error:
                raise
            raise redacted_error(self._translate(method, error)) from masked
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- some vendors' libraries end the program instead of raising
            masked = redacted_error(error)
            raise redacted_error(self._translate(method, error)) from masked

    def _translate(self, method: str, error: BaseException) -> PeftStudioError:
        why = (
            str(error)
            if type(error) is RuntimeError and str(error)
            else f"{type(error).__name__}: {error}".rstrip(": ")
        )
        if _is_network_failure(error):
            return ConnectionFailed("the platform could not be asked", why=why, connector=self.label)
        if isinstance(error, NotImplementedError):
            return UnsupportedCapability(f"it does not support {method}", connector=self.label)
        if method == "connect" and type(error) is ValueError:
            return InvalidCredentials("the platform refused the credentials", why=str(error), connector=self.label)
        if method == "fetch_artifact" and type(error) is FileNotFoundError:
            return ArtifactNotFound("there is no artifact", why=str(error), connector=self.label)
        return self._fault(f"{method} failed", why)


def _shown(answer: Any) -> str:
    """The beginning of an answer; masked before it is cut, so that no half of a secret remains."""
    return mask(repr(answer))[:60]


def is_refusal(error: PeftStudioError) -> bool:
    """True when the platform, or the connector before asking it, has said no: nothing was created there."""
    kinds = (InvalidConfig, InvalidCredentials, PlatformError)
    return isinstance(error, kinds) and not isinstance(error, ConnectorFault)


def _is_network_failure(error: BaseException | None) -> bool:
    """True when the error, or one that it was raised from, comes from the network; HTTP libraries wrap them."""
    while error is not None:
        if isinstance(error, _NETWORK) or (isinstance(error, OSError) and error.errno in _NETWORK_NUMBERS):
            return True
        error = error.__cause__
    return False
