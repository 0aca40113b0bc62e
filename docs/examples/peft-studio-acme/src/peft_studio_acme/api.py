"""The REST API of Acme: its paths, what it is sent, what it answers.

Each answer becomes one of the classes below where it arrives, so that what does not fit is an error there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self, TypeVar

from attrs import Attribute, AttrsInstance, asdict, field, fields_dict, frozen
from attrs.validators import instance_of, matches_re, optional
from peft_studio import ConnectionFailed, JobNotFound, Observed, TrainingConfig, Transport

TEXT: Final = instance_of(str)
NUMBER: Final = instance_of(int)

Answer = TypeVar("Answer", bound=AttrsInstance)


def read(kind: type[Answer], document: Any) -> Answer:
    """`document`, or the JSON text of one, as a `kind`. Fields that the platform adds one day do no harm.

    Raises `ConnectionFailed` for any other shape: what was asked has not been answered.
    """
    try:
        values = json.loads(document) if isinstance(document, str) else document
        return kind(**{name: values[name] for name in fields_dict(kind) if name in values})
    except (TypeError, ValueError) as error:
        why = f"it is no {kind.__name__}: {error.args[0]}".partition(" (got")[0]
        raise ConnectionFailed("the platform's answer cannot be read", why=why) from None


@frozen(kw_only=True)
class Account:
    """GET /v1/account."""

    id: str = field(validator=TEXT)


def _inside(instance: object, attribute: Attribute[str], name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or str(path) != name or not path.name or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} is no path inside of a folder")


@frozen(kw_only=True)
class File:
    """One file, its size in bytes, its name perhaps with folders in it."""

    name: str = field(validator=[TEXT, _inside])
    size: int = field(validator=NUMBER)
    sha256: str = field(validator=matches_re("[0-9a-f]{64}"))


def _money(value: object) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no amount of money") from None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@frozen(kw_only=True)
class Machine:
    """GET /v1/machines/{id}. Memory is in GiB, prices are texts: 1.99."""

    id: str = field(validator=TEXT)
    name: str = field(validator=TEXT)
    gpu: str | None = field(default=None, validator=optional(TEXT))
    gpu_count: int = field(default=0, validator=NUMBER)
    gpu_memory: int | None = field(default=None, validator=optional(NUMBER))
    memory: int | None = field(default=None, validator=optional(NUMBER))
    region: str | None = field(default=None, validator=optional(TEXT))
    available: bool | None = field(default=None, validator=optional(instance_of(bool)))
    hourly_price: Decimal | None = field(default=None, converter=_money)
    currency: str = field(validator=TEXT)
    #: Smallest time that is billed.
    billed_seconds: int | None = field(default=None, validator=optional(NUMBER))


#: Fields of `TrainingConfig` that are for this side, or have a field of their own in the request.
_NOT_SENT: Final = {"provider", "output_dir", "tag", "resource_id", "dataset_path"}


@frozen(kw_only=True)
class JobRequest:
    """POST /v1/jobs. The platform keeps `tag` and finds a job by it; without a `machine` it chooses one."""

    tag: str | None
    machine: str | None
    #: Has been uploaded; the ending of its name tells the format.
    dataset: File
    training: Mapping[str, Any]

    @classmethod
    def for_training(cls, config: TrainingConfig, dataset: File) -> Self:
        """The request for `config`; this platform names the hyper-parameters as PEFT does."""
        training = {name: value for name, value in config.to_dict().items() if name not in _NOT_SENT}
        return cls(tag=config.tag, machine=config.resource_id, dataset=dataset, training=training)


@frozen(kw_only=True)
class Job:
    """GET /v1/jobs/{id}."""

    id: str = field(validator=TEXT)
    tag: str | None = field(default=None, validator=optional(TEXT))
    status: str = field(validator=TEXT)
    reason: str | None = field(default=None, validator=optional(TEXT))
    machine: str | None = field(default=None, validator=optional(TEXT))
    hourly_price: Decimal | None = field(default=None, converter=_money)
    currency: str = field(default="USD", validator=TEXT)
    created: datetime | None = field(default=None, converter=_moment)


@frozen(kw_only=True)
class LogLine:
    """One event of GET /v1/jobs/{id}/logs. As JSON a line keeps whatever stands in it."""

    message: str = field(validator=TEXT)


def _numbers(values: Mapping[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in dict(values).items()}


@frozen(kw_only=True)
class Metrics:
    """What was measured at one step. Text stands for what JSON has no number for: nan, inf, -inf."""

    step: int = field(validator=NUMBER)
    values: Mapping[str, float] = field(converter=_numbers)


class AcmeApi:
    """One account, reached through one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def close(self) -> None:
        await self._transport.close()

    @property
    def observed(self) -> Observed | None:
        return self._transport.observed

    async def account(self) -> Account:
        return read(Account, await self._transport.get("v1", "account"))

    async def upload(self, file: File, place: Path) -> None:
        """Keep a file there under its digest; sending it again changes nothing."""
        await self._transport.upload("v1", "files", file.sha256, file=place, idempotent=True)

    # Machines and jobs.

    async def machines(self) -> list[Machine]:
        return [read(Machine, item) async for item in self._transport.pages("v1", "machines")]

    async def machine(self, machine_id: str) -> Machine:
        return read(Machine, await self._transport.get("v1", "machines", machine_id))

    async def create_job(self, request: JobRequest) -> Job:
        """Not repeated by the transport: an answer that is lost leaves open whether there is a job."""
        return read(Job, await self._transport.post("v1", "jobs", json=asdict(request)))

    async def jobs(self, tag: str) -> list[Job]:
        return [read(Job, item) async for item in self._transport.pages("v1", "jobs", query={"tag": tag})]

    async def all_jobs(self) -> list[Job]:
        return [read(Job, item) async for item in self._transport.pages("v1", "jobs")]

    async def job(self, job_id: str) -> Job:
        return read(Job, await self._transport.get("v1", "jobs", job_id, missing=JobNotFound))

    async def command_job(self, job_id: str, command: str) -> Job:
        """`cancel`, `pause` or `resume`; the same command twice does what it does once."""
        answer = await self._transport.post("v1", "jobs", job_id, command, missing=JobNotFound, idempotent=True)
        return read(Job, answer)

    async def log_lines(self, job_id: str) -> AsyncGenerator[str]:
        """Server-sent events, one for each line, until one that says that the job is over."""
        events = self._transport.events("v1", "jobs", job_id, "logs", missing=JobNotFound)
        async with aclosing(events):
            async for event in events:
                if event.event == "end":
                    return
                yield read(LogLine, event.data).message
        raise ConnectionFailed(f"the log of job {job_id} ended before the job did")

    async def job_files(self, job_id: str) -> list[File]:
        items = self._transport.pages("v1", "jobs", job_id, "files", missing=JobNotFound)
        return [read(File, item) async for item in items]

    async def download_job_file(self, job_id: str, file: File, destination: Path) -> None:
        place = ("v1", "jobs", job_id, "files", *file.name.split("/"))
        await self._transport.download(*place, file=destination, sha256=file.sha256, size=file.size)

    async def job_metrics(self, job_id: str) -> list[Metrics]:
        items = self._transport.pages("v1", "jobs", job_id, "metrics", missing=JobNotFound)
        return [read(Metrics, item) async for item in items]
