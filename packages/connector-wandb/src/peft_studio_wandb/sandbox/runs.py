"""Runs and the projects that hold them: the truth behind GraphQL and the file stream."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import define, field

from peft_studio_testkit.sandbox import Clock, Run
from peft_studio_testkit.sandbox.tables import RunTable
from peft_studio_wandb.sandbox import console
from peft_studio_wandb.sandbox.lines import Lines
from peft_studio_wandb.sandbox.problems import Refusal, permission_denied

#: How long a run may be silent before it counts as crashed, seconds. A guess: W&B tells no number.
SILENCE: Final = 300.0
#: Names of the columns that W&B itself adds to a row.
RESERVED: Final = ("_step", "_runtime", "_timestamp", "_wandb")
_FORBIDDEN_IN_PROJECT: Final = frozenset("/\\#?%:")
_FORBIDDEN_IN_RUN: Final = frozenset(":;,#?/'")


@define(kw_only=True)
class WandbRun:
    """One run, by the name that its client chose."""

    entity: str
    project: str
    name: str
    created: float
    display_name: str
    heartbeat: float
    #: What was sent by the name of the field of UpsertBucketInput: group, job type, notes, tags, ...
    fields: dict[str, Any] = field(factory=dict)
    #: JSON document, each value wrapped as `{"value": ...}`.
    config: str = "{}"
    summary: str = "{}"
    #: What it was before, each with the time at which it was replaced.
    earlier_summaries: list[tuple[float, str]] = field(factory=list)
    history: Lines = field(factory=Lines)
    events: Lines = field(factory=Lines)
    output: Lines = field(factory=Lines)
    #: Names of files that the client says are uploaded.
    uploaded: set[str] = field(factory=set)
    exitcode: int | None = None
    #: Somebody pressed Stop.
    stopped: bool = False
    preempting: bool = False
    word: str = "running"
    used_artifacts: list[str] = field(factory=list)

    @property
    def path(self) -> str:
        """How people name it."""
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def id(self) -> str:
        """What GraphQL calls its id."""
        return opaque(f"Run:v1:{self.name}:{self.project}:{self.entity}")

    def state(self, now: float) -> str:
        """W&B's word for how it is."""
        if self.exitcode is not None:
            return "finished" if self.exitcode == 0 else "failed"
        is_silent = now - self.heartbeat > SILENCE
        if self.preempting:
            return "preempted" if is_silent else "preempting"
        return "crashed" if is_silent and self.word == "running" else self.word

    def sum_up(self, text: str, now: float) -> None:
        """Replace the summary."""
        self.earlier_summaries.append((now, self.summary))
        self.summary = text

    def summary_at(self, moment: float) -> str:
        """What the summary was then."""
        return next((text for end, text in self.earlier_summaries if end > moment), self.summary)

    def snapshot(self, now: float) -> Run:
        """As every tracker of the testkit tells it."""
        config = {key: value["value"] for key, value in json.loads(self.config).items() if key != "_wandb"}
        metrics = [(row["_step"], {k: v for k, v in row.items() if k not in RESERVED}) for row in self.history.rows]
        text = [console.parse(line)["line"] for line in self.output.texts]
        return Run(self.path, config, metrics, text, self._told(now))

    def _told(self, now: float) -> str:
        """How it ended: W&B's own word does not tell cancelled from failed, which clients write into the summary."""
        is_cancelled = self.exitcode is not None and json.loads(self.summary).get("job_status") == "cancelled"
        return "cancelled" if is_cancelled else self.state(now)


@define
class Project:
    """A project, with its runs by name; `deleted` holds the names that can not be used again."""

    entity: str
    name: str
    created: float
    number: int
    description: str | None = None
    runs: dict[str, WandbRun] = field(factory=dict)
    deleted: set[str] = field(factory=set)

    @property
    def id(self) -> str:
        """What GraphQL calls its id."""
        return opaque(f"Project:v1:{self.name}:{self.entity}")


class Workspace(RunTable):
    """All projects of the entities that the key may write to. A run is found by its name, or by entity/project/name."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        #: The user first, then the teams.
        self.entities = ["jo", "acme"]
        self.projects: dict[tuple[str, str], Project] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything; the clock starts now."""
        super().clear()
        self.projects = {}
        self.start = datetime.now(UTC).replace(microsecond=0)

    def date(self, seconds: float) -> str:
        """A moment of the clock as W&B writes it."""
        return (self.start + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def project(self, entity: str | None, name: str | None) -> Project | None:
        """A project; None when there is none, or none for this key."""
        return self.projects.get((entity or self.entities[0], name or "uncategorized"))

    def open_project(self, entity: str | None, name: str | None) -> Project:
        """A project, made where it is missing. Raises `Refusal`."""
        entity, name = entity or self.entities[0], name or "uncategorized"
        if entity not in self.entities:
            raise permission_denied()
        if len(name) > 128 or _FORBIDDEN_IN_PROJECT & set(name):
            raise Refusal(400, f"invalid project name: {name}")
        new = Project(entity, name, self.clock.now(), len(self.projects) + 1)
        return self.projects.setdefault((entity, name), new)

    def run(self, path: str) -> WandbRun:
        """A run by `entity/project/name`, by its name alone, or by GraphQL's id. Raises `KeyError`."""
        for project in self.projects.values():
            for run in project.runs.values():
                if path in (run.path, run.name, run.id):
                    return run
        raise KeyError(path)

    def open_run(self, project: Project, name: str) -> tuple[WandbRun, bool]:
        """A run, and whether it is new. Raises `Refusal`."""
        if name in project.runs:
            return project.runs[name], False
        if name in project.deleted:
            raise Refusal(409, f"run {name} was previously created and deleted; try a new run name")
        if name != name.strip() or not name or len(name) > 128 or _FORBIDDEN_IN_RUN & set(name):
            raise Refusal(400, f"invalid run name: {name}")
        now = self.clock.now()
        run = WandbRun(
            entity=project.entity, project=project.name, name=name, created=now, heartbeat=now,
            display_name=f"calm-tree-{len(project.runs) + 1}",
        )  # fmt: skip
        project.runs[name] = run
        return run, True

    def delete(self, run: WandbRun) -> None:
        """Delete it for good: its name is used up."""
        project = self.projects[run.entity, run.project]
        del project.runs[run.name]
        project.deleted.add(run.name)

    # What every tracker of the testkit can do.

    def __getitem__(self, id: str) -> Run:
        return self.run(id).snapshot(self.clock.now())

    def __delitem__(self, id: str) -> None:
        self.delete(self.run(id))

    def __iter__(self) -> Any:
        return iter([run.path for project in self.projects.values() for run in project.runs.values()])

    def __len__(self) -> int:
        return sum(len(project.runs) for project in self.projects.values())

    def add(self, config: Any = None, *, id: str | None = None) -> Run:
        """Open a run in the first entity's project `seeded`."""
        project = self.open_project(None, "seeded")
        run, _ = self.open_run(project, id or f"run-{len(project.runs) + 1}")
        run.config = json.dumps({key: {"value": value} for key, value in (config or {}).items()})
        return run.snapshot(self.clock.now())


def opaque(text: str) -> str:
    """An id that says nothing to a client."""
    return base64.b64encode(text.encode()).decode()
