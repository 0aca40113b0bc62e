"""The calls about jobs: status, logs, events, artifact, resources and prices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from peft_studio._calls.connections import Connections
from peft_studio.models import JobEvent, JobStatus, PricingInfo, Resource
from peft_studio.session import ConnectorFault, Session


class TrainingCalls(Connections):
    """Everything about a job that was submitted, and about what jobs can run on."""

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
        answer: str | None = await self._session(name).ask("find_job", str | None, tag=tag)
        return answer

    async def get_metrics(self, name: str, job_id: str) -> list[Mapping[str, Any]]:
        """Metrics of a job or run, oldest first."""
        return await self._session(name).ask_list("get_metrics", Mapping, job_id=job_id)

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

    async def get_job_cost(self, name: str, job_id: str) -> Decimal | None:
        """What a job has cost so far with everything that was rented for it, US dollars; None when nobody knows."""
        answer: Decimal | None = await self._session(name).ask("get_job_cost", Decimal | None, job_id=job_id)
        return answer

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
        return await self._session(name).ask_list("list_resources", Resource)

    async def get_pricing(self, name: str, resource_id: str) -> PricingInfo:
        """What a resource costs now."""
        answer: PricingInfo = await self._session(name).ask("get_pricing", PricingInfo, resource_id=resource_id)
        return answer

    def _notify(self, name: str, event: JobEvent) -> None:
        outcomes = self.registry.hooks.ask("peft_studio_job_event", connector=name, event=event)
        self.hook_failures += [outcome for outcome in outcomes if outcome.error is not None]


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
