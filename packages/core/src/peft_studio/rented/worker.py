"""The client's side of `peft-studio-worker serve`: a job on a rented machine, reached over the network.

docs/reference/worker.md has the interface. Everything may be called again after it failed: uploads go on where they
ended, events after the last one, downloads at the byte that is missing.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import frozen

from peft_studio._declared import declaring
from peft_studio.artifacts import MANIFEST_NAME, Manifest, put_in_place, require_empty, verify
from peft_studio.errors import ArtifactNotFound, ConnectionFailed, PeftStudioError, PlatformError
from peft_studio.models import JobEvent, JobStatus
from peft_studio.rented.inputs import Input
from peft_studio.training_config import TrainingConfig
from peft_studio.transport import Transport

#: Bytes that the first request of an upload brings, and that any brings at least and at most.
PIECE: Final = 8 * 2**20
_LEAST, _MOST = 2**18, 64 * 2**20
#: Seconds that a request may take which brings a piece: platforms' proxies cut off after a hundred. A line that is
#: several times as fast gets larger pieces.
_PIECE_SECONDS: Final = 20.0
#: Seconds that the worker may take for an answer when nothing happens; platforms' proxies cut off after a hundred.
WAIT: Final = 25
#: Attempts in a row that bring nothing new, until an upload is given up.
_ATTEMPTS: Final = 5
#: Seconds that a job has to stop, with its checkpoint, and between two looks at it.
_STOP_TIME: Final = 120.0
_LOOK: Final = 0.2

#: Told how many bytes of how many are there.
Progress = Callable[[int, int], None]


@frozen(kw_only=True)
class WorkerState:
    """What the worker says of its job."""

    status: JobStatus
    #: False until the job was brought to it.
    has_job: bool
    reason: str | None
    resumable: bool
    last_sequence: int
    has_artifact: bool
    #: By the machine's clock.
    now: datetime
    #: When the machine ends itself at the latest.
    ends_by: datetime | None
    #: In the currency of the rate that it was given.
    cost: Decimal | None


class Worker:
    """The worker of one job at `address`; `token` is the job's own.

    It knows all of its addresses, whatever it holds: a 404 is the word of something in between, and a
    `ConnectionFailed`; the worker's own says that an input or the artifact is not there yet.

    `certificate` is the only one that it may show. `piece` is how much of a file the first request
    brings, bytes; the line decides about the others.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        certificate: str | None = None,
        label: str | None = None,
        piece: int = PIECE,
    ) -> None:
        self._piece = piece
        headers = {"Authorization": f"Bearer {token}"}
        with declaring(None):  # the platform has told the address of what it rents out: no connector.json could
            self._transport = Transport(
                f"{address.rstrip('/')}/v1", headers=headers, secrets=[token], certificate=certificate, connector=label
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection; the job goes on."""
        await self._transport.close()

    async def is_there(self) -> bool:
        """True when it answers; a machine that starts does not yet, and its platform may answer in its place."""
        try:
            answer = await self._transport.get("health")
        except (ConnectionFailed, PlatformError):
            return False
        return isinstance(answer, Mapping) and "worker" in answer

    async def start(
        self, config: TrainingConfig, inputs: Sequence[Input], *, created: datetime | None, tell: Progress | None = None
    ) -> None:
        """Upload what is missing of the inputs, and let the job begin; once, however often it is called.

        `created` is since when the machine costs, by the platform's own word. `tell` hears how many bytes of all
        inputs are there.
        """
        done, total = 0, sum(each.size for each in inputs)
        for each in inputs:
            before = done
            await self.upload(each, tell and (lambda there, _: tell(before + there, total)))  # noqa: B023 -- called at once
            done += each.size
        document = {
            "config": config.to_dict(),
            "inputs": [each.to_dict() for each in inputs],
            "created": None if created is None else created.astimezone(UTC).isoformat(),
        }
        await self._transport.put("job", json=document, idempotent=True, missing=ConnectionFailed)

    async def upload(self, each: Input, tell: Progress | None = None) -> None:
        """Piece by piece, from where it ended, until all is there; gives up when nothing arrives any more."""
        fruitless, most = 0, -1
        there, is_complete = await self._progress(each)
        while not is_complete:
            before, started = there, time.monotonic()
            failure = await self._send(each, there)
            self._piece = _next_piece(self._piece, time.monotonic() - started, is_through=failure is None)
            there, is_complete = await self._progress(each)
            if tell is not None:
                tell(there, each.size)
            fruitless, most = (0, there) if there > most else (fruitless + 1, most)
            if failure is not None and (fruitless >= _ATTEMPTS or there < before):  # refused: other bytes than promised
                raise failure
            if fruitless >= _ATTEMPTS:
                raise PlatformError(f"the worker does not keep {each.path.name}, which was uploaded to it")

    async def state(self) -> WorkerState:
        """How the job is; pending also before the worker has been told of it."""
        return _state(await self._transport.get("job", missing=ConnectionFailed))

    async def until(self, is_so: Callable[[JobStatus], bool]) -> WorkerState:
        """The state when it is so, or after the longest time that a job may take to stop."""
        until = time.monotonic() + _STOP_TIME
        while True:
            state = await self.state()
            if is_so(state.status) or time.monotonic() > until:
                return state
            await asyncio.sleep(_LOOK)

    async def events(self, after: int = 0) -> AsyncGenerator[JobEvent]:
        """The event log after that sequence number, as it grows, until the job is over or paused."""
        is_over = is_paused = False
        while not is_over:
            query = {"after": after, "wait": WAIT}
            answer = await self._transport.get("events", query=query, missing=ConnectionFailed)
            for document in answer["events"]:
                event = _event(document)
                after = event.sequence
                is_paused = event.data.get("status") == JobStatus.PAUSED if event.type == "state" else is_paused
                yield event
            is_over = (answer["is_over"] or is_paused) and after >= answer["last"]

    async def stop(self, action: str) -> None:
        """Let the job "pause" at a checkpoint, or "cancel" it."""
        await self._transport.post("stop", json={"action": action}, idempotent=True, missing=ConnectionFailed)

    async def resume(self) -> None:
        """Let a stopped job go on from its checkpoint."""
        await self._transport.post("resume", json={}, idempotent=True, missing=ConnectionFailed)

    async def acknowledge(self, manifest: Manifest) -> None:
        """The whole artifact is here and verified: the machine may end itself."""
        await self._transport.post("ack", json={"manifest": manifest.sha256}, idempotent=True, missing=ConnectionFailed)

    async def abandon(self) -> None:
        """Nobody wants the artifact: the machine may end itself."""
        await self._transport.post("ack", json={"abandon": True}, idempotent=True, missing=ConnectionFailed)

    async def download(self, destination: Path) -> Manifest:
        """Bring the artifact to `destination`, which must be new or empty; verified, and in one rename.

        What has arrived waits beside it in a hidden folder, and is gone on with at the next call. Raises
        `ArtifactNotFound` while there is none.
        """
        require_empty(destination)
        manifest = await self._manifest()
        arriving = destination.with_name(f".{destination.name}-{manifest.sha256[:16]}")
        arriving.mkdir(parents=True, exist_ok=True)
        arrived = set()
        for entry in manifest.files:
            file = arriving / entry.path
            if not (file.is_file() and file.stat().st_size == entry.size):
                parts = entry.path.split("/")
                await self._transport.download(
                    "artifact", *parts, file=file, sha256=entry.sha256, size=entry.size, missing=ConnectionFailed
                )
                arrived.add(entry.path)
        (arriving / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
        await asyncio.to_thread(_put_verified, arriving, destination, arrived)
        return manifest

    async def _manifest(self) -> Manifest:
        """Raises `ArtifactNotFound` only when the worker itself says so: whoever believes it ends the machine."""
        try:
            document = await self._transport.get("artifact", missing=ArtifactNotFound)
        except ArtifactNotFound as error:
            if (await self.state()).has_artifact:
                raise ConnectionFailed(error.what, why=error.why, connector=error.connector) from None
            raise
        return Manifest.from_document(document)

    async def _progress(self, each: Input) -> tuple[int, bool]:
        """Bytes that are there, and whether these are all."""
        try:
            headers = await self._transport.head("inputs", each.sha256, missing=ArtifactNotFound)
        except ArtifactNotFound:
            return 0, False
        return int(headers["upload-offset"]), headers["upload-complete"] == "?1"

    async def _send(self, each: Input, offset: int) -> PeftStudioError | None:
        """One piece, and what went wrong with it: the worker's own count tells what that means."""
        end = min(offset + self._piece, each.size)
        headers = {"upload-offset": str(offset), "upload-length": str(each.size)}
        content = each.content(offset, end)
        try:
            await self._transport.upload("inputs", each.sha256, file=content, headers=headers, may_be_empty=True)
        except (ConnectionFailed, PlatformError) as error:
            return error
        return None


def _put_verified(arriving: Path, destination: Path, arrived: Collection[str]) -> None:
    """What has arrived in this very call was verified on its way; what an earlier one has left is read in full."""
    try:
        verify(arriving, already=arrived)
    except Exception:
        shutil.rmtree(arriving, ignore_errors=True)
        raise
    put_in_place(arriving, destination)


def _next_piece(piece: int, seconds: float, *, is_through: bool) -> int:
    if not is_through or seconds > _PIECE_SECONDS:
        return max(piece // 2, _LEAST)
    return min(piece * 2, _MOST) if seconds < _PIECE_SECONDS / 4 else piece


def _state(document: Any) -> WorkerState:
    return WorkerState(
        status=JobStatus(document["state"]),
        has_job=document["has_job"],
        reason=document["reason"],
        resumable=document["resumable"],
        last_sequence=document["last_sequence"],
        has_artifact=document["artifact"],
        now=datetime.fromisoformat(document["now"]),
        ends_by=None if document["ends_by"] is None else datetime.fromisoformat(document["ends_by"]),
        cost=None if document["cost"] is None else Decimal(document["cost"]),
    )


def _event(document: Mapping[str, Any]) -> JobEvent:
    data = dict(document)
    sequence, time, kind = data.pop("sequence"), datetime.fromisoformat(data.pop("time")), data.pop("type")
    return JobEvent(sequence=sequence, time=time, type=kind, data=data)
