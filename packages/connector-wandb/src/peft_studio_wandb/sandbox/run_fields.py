"""Runs and projects as GraphQL tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from peft_studio_wandb.sandbox import console
from peft_studio_wandb.sandbox.connections import connection
from peft_studio_wandb.sandbox.filters import select
from peft_studio_wandb.sandbox.history import is_within, keys_of, sample, sampled_keys
from peft_studio_wandb.sandbox.runs import Project, WandbRun, Workspace, opaque
from peft_studio_wandb.sandbox.storage import Storage, show_file


class RunFields:
    """What the fields of Project and Run answer. `artifacts_of` tells those that a run wrote, and those it used."""

    def __init__(self, workspace: Workspace, storage: Storage) -> None:
        self._workspace = workspace
        self._storage = storage
        #: How far the counts of lines, and the summary, are behind, seconds of the clock.
        self.lag = 0.0
        #: Rows are counted and not handed out any more.
        self.hides_history = False
        self.artifacts_of: Callable[[WandbRun], tuple[Any, Any]] = lambda _run: (None, None)
        self.project_more: Callable[[Project], dict[str, Any]] = lambda _project: {}

    def user(self) -> dict[str, Any]:
        """Whose key it is."""
        name = self._workspace.entities[0]
        return {
            "__typename": "User", "id": opaque("User:1"), "name": name.title(), "username": name, "entity": name,
            "email": f"{name}@example.com", "admin": False, "flags": "{}", "apiKeys": {"edges": []},
            "teams": {"edges": [{"node": self.entity(team)} for team in self._workspace.entities[1:]]},
        }  # fmt: skip

    def entity(self, name: str) -> dict[str, Any]:
        """A user or team."""
        return {"id": opaque(f"Entity:{name}"), "name": name, "organization": None}

    def project(self, project: Project) -> dict[str, Any]:
        """A project."""

        def runs(info: Any, filters: Any = None, after: Any = None, first: Any = None, order: Any = None) -> Any:
            chosen = select(self._workspace, project.runs.values(), filters, order)
            return connection(chosen, self.run, first, after)

        def run(info: Any, name: str, missingOk: Any = None) -> Any:  # noqa: N803 -- its name
            return self.run(project.runs[name]) if name in project.runs else None

        return {
            "id": project.id, "internalId": str(project.number), "name": project.name, "entityName": project.entity,
            "entity": self.entity(project.entity), "user": self.user(), "access": "PRIVATE", "views": "{}",
            "createdAt": self._workspace.date(project.created), "description": project.description,
            "isBenchmark": False, "readOnly": False, "runs": runs, "run": run, "bucket": run,
            "runCount": lambda _info, filters=None: len(select(self._workspace, project.runs.values(), filters, None)),
            **self.project_more(project),
        }  # fmt: skip

    def run(self, run: WandbRun) -> dict[str, Any]:
        """A run."""
        now, date, sent = self._workspace.clock.now(), self._workspace.date, run.fields
        return {
            "__typename": "Run", "id": run.id, "name": run.name, "displayName": run.display_name,
            "project": lambda _info: self.project(self._workspace.projects[run.entity, run.project]),
            "projectId": str(self._workspace.projects[run.entity, run.project].number),
            "description": sent.get("description"), "notes": sent.get("notes"), "tags": sent.get("tags") or [],
            "group": sent.get("groupName"), "jobType": sent.get("jobType"), "commit": sent.get("commit"),
            "host": sent.get("host"), "state": run.state(now), "stopped": run.stopped, "readOnly": False,
            "user": self.user(), "createdAt": date(run.created), "heartbeatAt": date(run.heartbeat),
            "config": run.config, "wandbConfig": lambda _info, keys=None: _wandb_config(run.config, keys),
            "summaryMetrics": run.summary_at(now - self.lag), **self._lines(run), **self._files(run),
        }  # fmt: skip

    def _lines(self, run: WandbRun) -> dict[str, Any]:
        """History, events and console."""
        seen = self._workspace.clock.now() - self.lag
        return {
            "historyLineCount": lambda _info: run.history.count(seen),
            "eventsLineCount": lambda _info: run.events.count(seen),
            "logLineCount": lambda _info: run.output.count(seen),
            "historyTail": lambda _info: json.dumps(run.history.texts[-1:]),
            "eventsTail": lambda _info: json.dumps(run.events.texts[-1:]),
            "systemMetrics": lambda _info: (run.events.texts or ["{}"])[-1],
            "historyKeys": lambda _info: keys_of(_rows(run)),
            "history": lambda _info, **asked: [] if self.hides_history else _history(run, **asked),
            "events": lambda _info, samples=500: sample(run.events.texts, samples),
            "sampledHistory": lambda _info, specs: [sampled_keys(_rows(run), spec) for spec in specs],
            "parquetHistory": lambda _info, liveKeys: _live(run, liveKeys),  # noqa: N803 -- its name
            "logLines": lambda _info, **asked: _log_lines(run, **asked),
        }  # fmt: skip

    def _files(self, run: WandbRun) -> dict[str, Any]:
        """Files and artifacts."""
        folder = files_of(run)
        keys = [key for key in self._storage.blobs if key.startswith(folder)]

        def show(key: str) -> dict[str, Any]:
            return show_file(self._storage, key, key.removeprefix(folder), self._workspace.date)

        def files(info: Any, names: Any = None, pattern: Any = None, first: Any = None, after: Any = None) -> Any:
            chosen = [key for key in keys if not names or key.removeprefix(folder) in names]
            chosen = [key for key in chosen if not pattern or _is_like(pattern, key.removeprefix(folder))]
            return connection(chosen, show, first, after)

        output, used = self.artifacts_of(run)
        return {"fileCount": len(keys), "files": files, "outputArtifacts": output, "inputArtifacts": used}


def files_of(run: WandbRun) -> str:
    """Where its files lie in the storage."""
    return f"runs/{run.path}/"


def _rows(run: WandbRun) -> list[dict[str, Any]]:
    return [row for row, _ in run.history.by_step]


def _history(run: WandbRun, minStep: Any = None, maxStep: Any = None, samples: Any = None) -> list[str]:  # noqa: N803
    chosen = [text for row, text in run.history.by_step if is_within(row, minStep, maxStep)]
    return sample(chosen, samples or 500)


def _live(run: WandbRun, keys: list[str]) -> dict[str, Any]:
    """What is not yet exported: all of it, here."""
    rows = [{key: row[key] for key in keys if key in row} for row, _ in run.history.by_step]
    return {"parquetUrls": [], "liveData": rows}


def _log_lines(run: WandbRun, last: Any = None, first: Any = None, after: Any = None, **_: Any) -> dict[str, Any]:
    lines = run.output.numbered

    def show(line: tuple[int, str]) -> dict[str, Any]:
        return {"number": line[0], **console.parse(line[1])}

    return connection(lines if last is None else lines[-last:], show, first or last or 1000, after)


def _wandb_config(config: str, keys: list[str] | None) -> str | None:
    own = json.loads(config).get("_wandb", {}).get("value")
    if own is None:
        return None
    return json.dumps({key: value for key, value in own.items() if keys is None or key in keys})


def _is_like(pattern: str, name: str) -> bool:
    """SQL's LIKE."""
    parts = (".*" if part == "%" else "." if part == "_" else re.escape(part) for part in pattern)
    return re.fullmatch("".join(parts), name) is not None
