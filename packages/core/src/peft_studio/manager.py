"""`ConnectorManager`: connects to platforms and drives jobs on them, whatever the connector.

A manager is an object; two of them share nothing but what they are given. Everything a connector does goes through a
session, so that its mistakes arrive as errors that name it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import attrs

from peft_studio.connector import PlatformConnector
from peft_studio.credentials import gather, require
from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError
from peft_studio.hooks import Outcome
from peft_studio.models import JobEvent, JobStatus, PricingInfo, Problem, Resource
from peft_studio.records import ConnectorRecord
from peft_studio.registry import ConnectorRegistry
from peft_studio.session import ConnectorFault, Session, is_refusal
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.ledger import Ledger


class SubmissionLedger(Protocol):
    """What the manager needs of a ledger. `peft_studio.Ledger` is one; an embedding program may bring its own."""

    def new_tag(self, config: TrainingConfig) -> str: ...

    def record_intent(self, tag: str, connector: str, config: TrainingConfig) -> None: ...

    def record_submitted(self, tag: str, platform_id: str) -> None: ...

    def record_refused(self, tag: str, reason: str) -> None: ...


class ConnectorManager:
    """Finds connectors, holds the connections, and calls the platforms.

    `registry` defaults to the installed connectors under the user's policy. `ledger` None opens the user's own ledger
    at the first submission; False does without. `plugins` are modules or objects with hooks of the embedding program.
    Use it as an async context manager to have everything disconnected at the end.
    """

    def __init__(
        self,
        registry: ConnectorRegistry | None = None,
        ledger: SubmissionLedger | Literal[False] | None = None,
        plugins: Iterable[object] = (),
    ) -> None:
        self.registry = ConnectorRegistry() if registry is None else registry
        #: The latest failures of plugins that only observe or lend; they stop nothing.
        self.hook_failures: deque[Outcome] = deque(maxlen=100)
        self._chosen_ledger = ledger
        self._own_ledger: Ledger | None = None
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        for plugin in plugins:
            self.registry.add_plugin(plugin)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.disconnect_all()

    # Which connectors there are.

    def discover_connectors(self) -> list[ConnectorRecord]:
        """Look at the disk again and list what is there. Imports no connector."""
        self.registry.refresh()
        return self.registry.list()

    def list_connectors(self) -> list[ConnectorRecord]:
        """Every connector, by name. Imports none."""
        return self.registry.list()

    def get_connectors_by_feature(self, feature: str) -> list[ConnectorRecord]:
        """Connectors that declare `feature`: training, inference, registry or tracking."""
        return self.registry.by_feature(feature)

    def register_connector(self, connector: type[PlatformConnector]) -> None:
        """Add a class without an entry point. Raises `BrokenConnector` with every fault."""
        self.registry.register(connector)

    # Connections.

    async def connect(self, name: str, credentials: Mapping[str, str] | None = None) -> bool:
        """Connect, once however often it is asked for; other credentials replace the connection.

        Fields that `credentials` leaves out come from the environment variables that connector.json names, then from
        vault plugins. Raises `ConnectorNotFound`, `BrokenConnector`, `InvalidCredentials` and `ConnectionFailed`; after
        each of them there is no connection.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            if credentials is None and name in self._sessions:
                return True
            connector = await asyncio.to_thread(self.registry.activate, name)
            values = await asyncio.to_thread(self._gather, name, credentials)
            if name in self._sessions and self._sessions[name].was_opened_with(values):
                return True
            await self._close(name)
            session = Session(connector, self.registry.label(name), values)
            required = await session.ask("get_required_credentials", list)
            require(session.label, required, values, self.registry.describe(name).manifest)
            await session.open()
            self._sessions[name] = session
            return True

    async def disconnect(self, name: str) -> None:
        """Let the connection go; jobs on the platform go on. Does nothing when there is none."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            await self._close(name)

    async def disconnect_all(self) -> None:
        """Let every connection go, also when one of them fails to; the first failure is raised at the end.

        A ledger that the manager opened itself is closed too, and opened again when it is needed.
        """
        answers = await asyncio.gather(
            *(self.disconnect(name) for name in list(self._sessions)), return_exceptions=True
        )
        if self._own_ledger is not None:
            self._own_ledger.close()
            self._own_ledger = None
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def is_connected(self, name: str) -> bool:
        """True between `connect` and `disconnect`; `verify_connection` asks the platform."""
        return name in self._sessions

    def get_connector(self, name: str) -> PlatformConnector:
        """The connected instance itself. Raises `ConnectionFailed` when there is none."""
        return self._session(name).connector

    async def verify_connection(self, name: str) -> bool:
        """True while the platform answers and knows us."""
        return bool(await self._session(name).ask("verify_connection", bool))

    # Jobs.

    async def validate_config(self, name: str, config: TrainingConfig) -> None:
        """What `submit_job` checks before it asks the platform: policy plugins, then the connector.

        Raises `InvalidConfig` with every problem.
        """
        session = self._session(name)
        await asyncio.to_thread(self._review, name, config)
        await session.validate(config)

    async def submit_job(self, name: str, config: TrainingConfig) -> str:
        """Start a job and return the platform's id of it.

        The intent is in the ledger before the platform is called, under the tag that the connector gives to whatever it
        creates. It is settled by an id or by a refusal; a lost answer leaves it open, because the job may exist.
        """
        session = self._session(name)
        await self.validate_config(name, config)
        ledger = self._ledger()
        if ledger is None:
            return str(await session.ask("submit_job", str, config=config))
        tag = ledger.new_tag(config)
        config = attrs.evolve(config, tag=tag)
        ledger.record_intent(tag, name, config)
        try:
            platform_id = str(await session.ask("submit_job", str, config=config))
        except PeftStudioError as error:
            if is_refusal(error):
                ledger.record_refused(tag, str(error))
            raise
        ledger.record_submitted(tag, platform_id)
        return platform_id

    async def get_job_status(self, name: str, job_id: str) -> JobStatus:
        """Ask the platform. Raises `JobNotFound`, and `ConnectionFailed` when it cannot be asked."""
        return await self._session(name).status(job_id)

    async def cancel_job(self, name: str, job_id: str) -> bool:
        """Stop a job for good; True when it is stopped or was over already."""
        return bool(await self._session(name).ask("cancel_job", bool, job_id=job_id))

    async def pause_job(self, name: str, job_id: str) -> bool:
        """Stop a job at a checkpoint."""
        return bool(await self._session(name).ask("pause_job", bool, job_id=job_id))

    async def resume_job(self, name: str, job_id: str) -> bool:
        """Go on from the last checkpoint."""
        return bool(await self._session(name).ask("resume_job", bool, job_id=job_id))

    async def find_job(self, name: str, tag: str) -> str | None:
        """The id of the job that was submitted with `tag`, or None when the platform knows none."""
        answer: str | None = await self._session(name).call("find_job", tag=tag)
        return answer

    async def get_metrics(self, name: str, job_id: str) -> list[Mapping[str, Any]]:
        """Metrics of a job or run, oldest first."""
        return list(await self._session(name).ask("get_metrics", list, job_id=job_id))

    async def stream_logs(self, name: str, job_id: str) -> AsyncGenerator[str]:
        """Log lines from the first one; ends when the job ends."""
        async with aclosing(self._session(name).stream("stream_logs", job_id=job_id)) as lines:
            async for line in lines:
                yield str(line)

    async def stream_events(self, name: str, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent]:
        """The event log after sequence number `after`; observers get each event too.

        For a connector that has only log lines these are the events, with a state event after the last line.
        """
        session = self._session(name)
        if session.offers("stream_events"):
            source = session.stream("stream_events", job_id=job_id, after=after)
        else:
            source = _events_of_lines(session, job_id, after)
        self.hook_failures += await asyncio.to_thread(self.registry.prepare, "peft_studio_job_event")
        async with aclosing(source) as events:
            async for event in events:
                self._notify(name, event)
                yield event

    # Artifacts, resources, prices.

    async def fetch_artifact(self, name: str, job_id: str) -> bytes:
        """The adapter as bytes, for small adapters. Raises `ArtifactNotFound`."""
        return bytes(await self._session(name).ask("fetch_artifact", bytes, job_id=job_id))

    async def download_artifact(self, name: str, job_id: str, destination: Path | str) -> Path:
        """Bring the adapter folder to `destination`, which must be new or empty. Raises `ArtifactNotFound`."""
        session = self._session(name)
        if session.offers("download_artifact"):
            answer = await session.ask("download_artifact", Path, job_id=job_id, destination=Path(destination))
            return Path(answer)
        data = await self.fetch_artifact(name, job_id)
        return await asyncio.to_thread(_unpack, data, Path(destination), session.label)

    async def upload_artifact(self, name: str, path: Path | str, metadata: Mapping[str, Any] | None = None) -> str:
        """Upload a file or an adapter folder; returns its id or address there."""
        return str(await self._session(name).ask("upload_artifact", str, path=str(path), metadata=metadata or {}))

    async def list_resources(self, name: str) -> list[Resource]:
        """What can be had now."""
        return list(await self._session(name).ask("list_resources", list))

    async def get_pricing(self, name: str, resource_id: str) -> PricingInfo:
        """What a resource costs now."""
        answer: PricingInfo = await self._session(name).ask("get_pricing", PricingInfo, resource_id=resource_id)
        return answer

    # Inside.

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            remedy = f'await manager.connect("{name}", credentials)'
            raise ConnectionFailed(f"there is no connection to {name}", remedy=remedy)
        return self._sessions[name]

    async def _close(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            await session.close()

    def _ledger(self) -> SubmissionLedger | None:
        if self._chosen_ledger is not None:
            return self._chosen_ledger or None
        if self._own_ledger is None:
            from peft_studio.ledger import Ledger

            self._own_ledger = Ledger()
        return self._own_ledger

    def _gather(self, name: str, credentials: Mapping[str, str] | None) -> dict[str, str]:
        manifest = self.registry.describe(name).manifest
        return gather(manifest, credentials, lambda field: self._from_vault(name, field))

    def _from_vault(self, name: str, field: str) -> str | None:
        for outcome in self.registry.ask("peft_studio_credential", connector=name, field=field):
            if outcome.error is not None:
                self.hook_failures.append(outcome)
            elif outcome.value is not None:
                return str(outcome.value)
        return None

    def _review(self, name: str, config: TrainingConfig) -> None:
        outcomes = self.registry.ask("peft_studio_review_job", connector=name, config=config)
        problems = [problem for outcome in outcomes for problem in _problems_of(outcome)]
        if problems:
            raise InvalidConfig.from_problems("the job was not submitted", problems)

    def _notify(self, name: str, event: JobEvent) -> None:
        outcomes = self.registry.hooks.ask("peft_studio_job_event", connector=name, event=event)
        self.hook_failures += [outcome for outcome in outcomes if outcome.error is not None]


def _problems_of(outcome: Outcome) -> list[Problem]:
    """A reviewer's problems. One that cannot answer stops the job too: a policy that is silent has not agreed."""
    if outcome.error is None and isinstance(outcome.value or [], list | tuple):
        return [found if isinstance(found, Problem) else Problem(message=str(found)) for found in outcome.value or []]
    reason = getattr(outcome.error, "why", None) or outcome.error
    answer = f"answered {outcome.value!r}" if outcome.error is None else f"cannot: {reason}"
    return [Problem(message=f"{outcome.plugin} must review each job and {answer}; mend, deny or uninstall it")]


async def _events_of_lines(session: Session, job_id: str, after: int) -> AsyncGenerator[JobEvent]:
    sequence = 0
    async with aclosing(session.stream("stream_logs", job_id=job_id)) as lines:
        async for line in lines:
            sequence += 1
            if sequence > after:
                yield _event(sequence, "log", level="info", message=str(line), source="trainer")
    status = await session.status(job_id)
    if status.is_terminal and sequence + 1 > after:
        yield _event(sequence + 1, "state", status=str(status))


def _event(sequence: int, kind: str, **data: Any) -> JobEvent:
    return JobEvent(sequence=sequence, time=datetime.now(UTC), type=kind, data=data)


def _unpack(data: bytes, destination: Path, label: str) -> Path:
    """The tar archive in `data` as a folder at `destination`, complete or not at all."""
    import io
    import tarfile
    import tempfile

    from peft_studio import artifacts

    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".peft-studio-", dir=destination.parent) as folder:
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(Path(folder) / "artifact", filter="data")
        except tarfile.TarError as error:
            why = f"{len(data)} bytes arrived, and they are no tar archive ({error})"
            remedy = "use fetch_artifact to get them as they are"
            raise ConnectorFault("the artifact cannot be unpacked", why=why, remedy=remedy, connector=label) from error
        if (Path(folder) / "artifact" / artifacts.MANIFEST_NAME).is_file():
            artifacts.verify(Path(folder) / "artifact")
        artifacts.put_in_place(Path(folder) / "artifact", destination)
    return destination
