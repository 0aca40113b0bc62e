"""Everything that can go wrong, as one tree.

Each error is a `PeftStudioError` *and* the built-in that Python programmers would catch:

    PeftStudioError
    ├── InvalidConfig          (ValueError)         a config, dataset or file that cannot be used
    ├── InvalidCredentials     (ValueError)         the platform refused the credentials, or some are missing
    │   └── MissingCredentials                      a required field was found nowhere
    ├── ConnectionFailed       (ConnectionError)    the platform could not be asked; says nothing of the job
    │   └── IncompleteList                          a part of it could not; `found` is what the rest lists
    ├── ArtifactNotFound       (FileNotFoundError)  the job has no artifact (yet)
    ├── ConnectorNotFound      (LookupError)        no installed connector has that name
    ├── JobNotFound            (LookupError)        no job has that id
    ├── BrokenConnector        (ImportError)        an installed plugin that cannot be used
    └── PlatformError          (RuntimeError)       the platform answered, and the answer is no
        ├── RateLimitError                          ask again after `retry_after` seconds
        ├── InsufficientCreditsError
        ├── CapacityError                           nothing that fits is on offer
        ├── NotEnoughMemory                         the job does not fit the machine
        └── UnsupportedCapability                   the connector does not do that; names those that do
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from peft_studio.models import Observed, Problem, Rental


class PeftStudioError(Exception):
    """Something failed: `what`, on which `connector`, `why` in the platform's words, `remedy` to try next.

    `connector` reads like ``runpod (peft-studio-runpod 0.1.0)``; the manager fills it in where it is missing.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, why: str | None = None, remedy: str | None = None, connector: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.connector = connector
        #: What the platform's answers have said besides, as far as somebody listened.
        self.observed: Observed | None = None
        #: The status of the HTTP answer that this was made of; None when it was none.
        self.http_status: int | None = None

    def __str__(self) -> str:
        """The error as one sentence, without the remedy."""
        sentence = self.what if self.why is None else f"{self.what}: {self.why}"
        return sentence if self.connector is None else f"{self.connector}: {sentence}"


class InvalidConfig(PeftStudioError, ValueError):
    """A config, dataset or file that cannot be used. `problems` holds every fault found, not only the first."""

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        problems: Iterable[Problem] = (),
        why: str | None = None,
        remedy: str | None = None,
        connector: str | None = None,
    ) -> None:
        super().__init__(what, why=why, remedy=remedy, connector=connector)
        self.problems = tuple(problems)

    @classmethod
    def from_problems(cls, subject: str, problems: Iterable[Problem]) -> InvalidConfig:
        """One error for all `problems` of `subject`; a single one becomes the sentence itself."""
        found = tuple(problems)
        return cls(subject, why="; ".join(str(problem) for problem in found), problems=found)


class InvalidCredentials(PeftStudioError, ValueError):
    """The platform refused the credentials, or a required field was found nowhere."""

    exit_code = 4


class MissingCredentials(InvalidCredentials):
    """A required field was found nowhere; the platform was not asked."""


class ConnectionFailed(PeftStudioError, ConnectionError):
    """The platform could not be asked. Never a job status: the job may well be running."""

    exit_code = 5


class IncompleteList(ConnectionFailed):
    """A part of what lives on the account could not be listed. `found` is what lives in the other parts."""

    def __init__(
        self,
        what: str,
        *,
        found: Iterable[Rental] = (),
        why: str | None = None,
        remedy: str | None = None,
        connector: str | None = None,
    ) -> None:
        super().__init__(what, why=why, remedy=remedy, connector=connector)
        self.found = tuple(found)


class PlatformError(PeftStudioError, RuntimeError):
    """The platform answered, and the answer is no. `why` carries its own words."""

    exit_code = 6


class RateLimitError(PlatformError):
    """Too many requests. `retry_after` is in seconds; None when the platform did not say."""

    def __init__(
        self,
        what: str,
        *,
        retry_after: float | None = None,
        why: str | None = None,
        remedy: str | None = None,
        connector: str | None = None,
    ) -> None:
        super().__init__(what, why=why, remedy=remedy, connector=connector)
        self.retry_after = retry_after


class InsufficientCreditsError(PlatformError):
    """The account cannot pay for this."""


class CapacityError(PlatformError):
    """Nothing that fits is on offer now."""


class NotEnoughMemory(PlatformError):
    """The job would not fit the memory of the machine; found out before the model is loaded."""


class UnsupportedCapability(PlatformError):
    """The connector does not do this."""


class ArtifactNotFound(PeftStudioError, FileNotFoundError):
    """The job has no artifact, or not yet."""

    exit_code = 8


class ConnectorNotFound(PeftStudioError, LookupError):
    """No installed connector has that name."""

    exit_code = 9


class JobNotFound(PeftStudioError, LookupError):
    """No job has that id."""

    exit_code = 9


class BrokenConnector(PeftStudioError, ImportError):
    """An installed plugin that cannot be used, with the reason."""

    exit_code = 10
