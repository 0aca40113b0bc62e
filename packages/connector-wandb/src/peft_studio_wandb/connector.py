"""W&B in the words of PEFT Studio: runs, their metrics and console lines, and artifacts.

A run's id is its path, `entity/project/name`: any process with the key can go on with it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, Final

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    JobStatus,
    Observed,
    PlatformError,
    Run,
    RunBatch,
    TrackingConnector,
)
from peft_studio_wandb import __version__, documents
from peft_studio_wandb.api import WandbApi
from peft_studio_wandb.artifacts import Download, Upload, files_in
from peft_studio_wandb.batches import ending, send_batch
from peft_studio_wandb.journal import Journal, Lines, as_line
from peft_studio_wandb.paths import ArtifactPath, RunPath, collection_name, require_run_name
from peft_studio_wandb.reading import filters_for, last_step, run_of, status_of
from peft_studio_wandb.run_stream import SUMMARY, RunStream, at
from peft_studio_wandb.settings import Settings, require_project

#: Keys of a config that describe the run itself.
_OWN: Final = ("run_id", "display_name", "group", "job_type", "notes", "tags")
#: Steps of one page of a history, as W&B's own client asks for them.
_PAGE: Final = 1000
#: Projects that are asked for their runs at the same time.
_AT_ONCE: Final = 4
#: W&B's SDK takes a run for one that can be resumed when its config holds this.
_RESUMABLE: Final[Mapping[str, Any]] = {"value": {"t": {}, "m": []}}


class WandbConnector(TrackingConnector):
    """Runs and artifacts at Weights & Biases."""

    name: ClassVar[str] = "wandb"
    display_name: ClassVar[str] = "Weights & Biases"
    description: ClassVar[str] = "Records runs and keeps their artifacts at Weights & Biases"
    version: ClassVar[str] = __version__

    #: Seconds after which W&B's count of lines, and its summary, are believed: they are 2 to 4 behind.
    settling: ClassVar[float] = 5.0
    #: Rows of one page at most; where there are few, it may span any number of steps.
    most_rows: ClassVar[int] = 64 * _PAGE

    def __init__(self) -> None:
        self._connection: WandbApi | None = None
        self._settings = Settings()
        self._entity = ""
        self._streams: dict[RunPath, RunStream] = {}

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Ask whose key it is; only then is an older connection replaced."""
        key = credentials.get("api_key")
        if not key:
            raise InvalidCredentials("there is no api_key", remedy="set WANDB_API_KEY")
        settings = Settings.of(credentials)
        api = WandbApi(key, settings)
        try:
            viewer = await api.viewer()
        except BaseException:
            await api.close()
            raise
        await self.disconnect()
        self._connection, self._settings = api, settings
        self._entity = settings.entity or str(viewer.get("entity") or viewer.get("username") or "")
        return True

    async def disconnect(self) -> bool:
        connection, self._connection = self._connection, None
        self._streams = {}
        if connection is not None:
            await connection.close()
        return True

    async def verify_connection(self) -> bool:
        try:
            await self._api.viewer()
        except (ConnectionFailed, InvalidCredentials):
            return False
        return True

    def get_required_credentials(self) -> list[str]:
        return ["api_key"]

    @property
    def observed(self) -> Observed | None:
        return None if self._connection is None else self._connection.observed

    @property
    def _api(self) -> WandbApi:
        if self._connection is None:
            raise ConnectionFailed("not connected to W&B", remedy="call connect first")
        return self._connection

    # Runs.

    async def start_run(self, config: Mapping[str, Any]) -> str:
        """Open a run; its project is `project_name` of the config.

        `run_id` in the config is the name that it gets: the same name again is the same run. Without one it is a new
        run each time. Raises `PlatformError` for a name that belonged to a run which was deleted.
        """
        name = require_run_name(str(config.get("run_id") or f"ps-{secrets.token_hex(6)}"))
        project = require_project(str(config.get("project_name") or self._settings.project))
        own = {
            "displayName": config.get("display_name"), "group": config.get("group"), "notes": config.get("notes"),
            "jobType": config.get("job_type"), "tags": list(config.get("tags") or ()) or None,
        }  # fmt: skip
        answer = await self._api.ask(
            documents.OPEN_RUN, entity=self._entity or None, project=project, name=name, config=_wrapped(config),
            **{key: value for key, value in own.items() if value is not None},
        )  # fmt: skip
        opened = answer["upsertBucket"]
        home = opened["bucket"]["project"]
        run = RunPath(home["entity"]["name"], home["name"], opened["bucket"]["name"])
        if opened["inserted"]:
            self._streams[run] = RunStream(self._api, run, Journal(Lines(0), Lines(0)))
        return str(run)

    async def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics of one step; those that could not be sent before go with them."""
        stream = await self._stream(run_id)
        stream.journal.log(step, metrics)
        await stream.flush()

    async def log_text(self, run_id: str, text: str) -> None:
        stream = await self._stream(run_id)
        stream.journal.write(text)
        await stream.flush()

    async def log_batch(self, run_id: str, batch: RunBatch) -> bool:
        """Write rows and lines at their places, whoever wrote what is before them; True when Stop was pressed.

        Nothing is remembered here, so that a batch that another process repeats is the same. Do not mix it with
        `log_metrics` and `log_text`, which count for themselves.
        """
        return await send_batch(self._api, self._path(run_id), batch)

    async def finish_run(self, run_id: str, status: JobStatus) -> None:
        """Close the run, after everything that is still to be sent. A paused one may be preempted and come back."""
        run = self._path(run_id)
        stream = self._streams.get(run)
        end = ending(status)
        if stream is None:  # who wrote the last of it is not known: it may not be shown yet
            await asyncio.sleep(self.settling)
        else:
            await stream.flush()
        known = json.loads((await self._api.run(run)).get("summaryMetrics") or "{}")
        written = {} if stream is None else stream.journal.summary
        summary = as_line({**known, **written, "job_status": str(status)})
        await self._api.stream(run, {"files": {SUMMARY: at(0, [summary])}, **end})

    async def is_stop_requested(self, run_id: str) -> bool:
        """True when somebody has pressed Stop on W&B's page: the job is to be cancelled."""
        run = self._path(run_id)
        stream = self._streams.get(run)
        if stream is not None and stream.is_stopped:
            return True
        return (await self._api.run(run)).get("stopped") is True

    async def get_metrics(self, job_id: str) -> list[Mapping[str, Any]]:
        """Every row with its step, in the order of steps. W&B needs some seconds to show what was just written.

        Raises `PlatformError` when W&B has rows and hands out none.
        """
        run = self._path(job_id)
        known = await self._api.run(run)
        texts = await self._rows(run, last_step(known))
        if not texts and known.get("historyLineCount"):
            why = "they are too new, or it has exported them to parquet files, which this version does not read"
            raise PlatformError(f"W&B has {known['historyLineCount']} rows of {run} and hands out none", why=why)
        return [_row(json.loads(text)) for text in texts]

    async def _rows(self, run: RunPath, last: int) -> list[str]:
        """All rows up to that step, window by window: a wide one where there are few, and never a sample."""
        texts: list[str] = []
        first, width = 0, _PAGE
        while first <= last:
            page = await self._api.rows(run, first, first + width, min(width, self.most_rows))
            if len(page) >= self.most_rows < width:  # it may be a sample
                width = self.most_rows
                continue
            texts += page
            first += width
            width = 2 * width if 2 * len(page) < _PAGE else _PAGE
        return texts

    async def list_runs(
        self,
        project: str | None = None,
        *,
        status: JobStatus | None = None,
        search: str | None = None,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> list[Run]:
        """Runs of a project (`name` or `entity/name`), or of all projects of the entity.

        `filters` are more conditions, as MongoDB writes them. Raises `PlatformError` for an unknown project.
        """
        wanted = filters_for(status, search, filters)
        places = await self._places() if project is None else [self._place(project)]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def runs_of(place: tuple[str, str]) -> list[Run]:
            async with at_once:
                return await self._runs_of(place, wanted, status, limit)

        found = [run for runs in await asyncio.gather(*map(runs_of, places)) for run in runs]
        found.sort(key=lambda run: 0.0 if run.created is None else run.created.timestamp(), reverse=True)
        return found[:limit]

    async def get_run(self, run_id: str) -> Run:
        try:
            run = self._path(run_id)
        except InvalidConfig as error:
            raise JobNotFound(f"W&B has no run {run_id}", why=error.what) from None
        return run_of(await self._api.run(run), run, self._settings.page)

    async def list_projects(self) -> AsyncGenerator[Mapping[str, Any]]:
        """Projects of the entity as W&B tells them."""
        async for project in self._api.projects(self._entity or None):
            yield project

    # Artifacts.

    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str:
        """Keep a file or folder as a version of the artifact `name`; the same content again is the same version.

        `run_id` names the run that wrote it; without one a run is made for it. `type` (model), `aliases` and
        `description` may be given; everything is in the artifact's metadata too.
        """
        source = Path(path)
        files = await asyncio.to_thread(files_in, source)
        collection = collection_name(str(metadata.get("name") or source.name))
        run = await self._uploader(metadata, collection)
        upload = Upload(
            self._api, run, collection, files, kind=str(metadata.get("type") or "model"),
            aliases=[str(alias) for alias in metadata.get("aliases") or ()],
            description=metadata.get("description"), metadata=metadata,
        )  # fmt: skip
        return str(await upload.send())

    async def download_version(self, artifact_id: str, destination: Path) -> Path:
        """Bring an artifact (`entity/project/name:version`), or the last model of a run, to a new folder, verified."""
        artifact = await (
            self._version(artifact_id) if ":" in artifact_id else self._last_model(self._path(artifact_id))
        )
        return await Download(self._api, artifact, Path(destination)).fetch()

    async def _uploader(self, metadata: Mapping[str, Any], collection: str) -> RunPath:
        if metadata.get("run_id"):
            return self._path(str(metadata["run_id"]))
        project = {"project_name": metadata["project_name"]} if metadata.get("project_name") else {}
        opened = await self.start_run({"job_type": "upload", "run_id": f"upload-{collection}"[:64], **project})
        await self.finish_run(opened, JobStatus.COMPLETED)
        return self._path(opened)

    async def _version(self, id: str) -> str:
        place, _, version = id.rpartition(":")
        parts = place.split("/")
        if len(parts) != 3:
            raise InvalidConfig(f"{id!r} is no artifact of W&B", remedy="write entity/project/name:version")
        data = await self._api.ask(
            documents.FIND_ARTIFACT, **ArtifactPath(parts[0], parts[1], parts[2], version).variables
        )
        membership = (data.get("project") or {}).get("artifactCollectionMembership") or {}
        found = membership.get("artifact")
        if found is None:
            raise ArtifactNotFound(f"W&B has no artifact {id}")
        return str(found["id"])

    async def _last_model(self, run: RunPath) -> str:
        found = [each async for each in self._api.run_artifacts(run) if each["artifactType"]["name"] == "model"]
        if not found:
            raise ArtifactNotFound(f"run {run} has kept no model at W&B")
        return str(found[-1]["id"])

    # Inside.

    def _path(self, id: str) -> RunPath:
        """Of `entity/project/name`, or of a name in the entity and project of the settings."""
        parts = id.split("/")
        if len(parts) == 3 and all(parts):
            return RunPath(*parts)
        return RunPath(self._entity, self._settings.project, require_run_name(id))

    async def _places(self) -> list[tuple[str, str]]:
        """Every project of the entity."""
        projects = [project async for project in self._api.projects(self._entity or None)]
        return [(project["entityName"], project["name"]) for project in projects]

    def _place(self, project: str) -> tuple[str, str]:
        entity, _, name = project.rpartition("/")
        return entity or self._entity, name

    async def _runs_of(
        self, place: tuple[str, str], filters: str | None, status: JobStatus | None, limit: int | None
    ) -> list[Run]:
        """The newest runs of one project that have the status."""
        found: list[Run] = []
        async with aclosing(self._api.runs(*place, filters, limit)) as runs:
            async for told in runs:
                if status is None or status_of(told) is status:
                    found.append(run_of(told, RunPath(*place, told["name"]), self._settings.page))
                if len(found) == limit:
                    break
        return found

    async def _stream(self, id: str) -> RunStream:
        """The stream of a run. One that is not from this process goes on where W&B says that it ends."""
        run = self._path(id)
        if run not in self._streams:
            await self._api.run(run)
            await asyncio.sleep(self.settling)
            known = await self._api.run(run)
            lines = Lines(known.get("historyLineCount") or 0), Lines(known.get("logLineCount") or 0)
            summary = json.loads(known.get("summaryMetrics") or "{}")
            self._streams.setdefault(run, RunStream(self._api, run, Journal(*lines, summary)))
        return self._streams[run]


def _wrapped(config: Mapping[str, Any]) -> str:
    """A config as W&B keeps it: each value in an object of its own."""
    values = {key: {"value": value} for key, value in config.items() if key not in _OWN}
    return json.dumps({**values, "_wandb": _RESUMABLE}, default=str, ensure_ascii=False)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in our words: its step, and what was logged."""
    return {"step": row["_step"], **{name: value for name, value in row.items() if not name.startswith("_")}}
