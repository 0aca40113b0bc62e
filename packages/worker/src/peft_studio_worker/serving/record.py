"""What must be remembered of a machine when its container is restarted: kept beside the job, on the mount.

Platforms restart a container whose command ended, for ever and for money. Without a memory the worker would train
again what it has delivered, or start its deadline anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Self

from attrs import asdict, define, fields

from peft_studio_worker.job_folder import write_json

_NAME: Final = "machine.json"


@define
class Record:
    """The machine's own memory of one job. `save` after each change."""

    folder: Path
    #: When the worker first ran here, seconds since the epoch.
    first_start: float
    #: "pause" or "cancel" when the client wished so, "machine" when the machine went down.
    stop: str | None = None
    #: sha256 of the manifest that the client has, or "abandoned".
    acknowledged: str | None = None
    #: Why the machine ends: from then on there is no way back.
    over: str | None = None
    #: Also when it is known that it never can be.
    is_pushed: bool = False
    failed_pushes: int = 0
    #: When it failed last, seconds since the epoch.
    push_failed: float | None = None
    #: When the worker was last seen alive after its job had stopped, seconds since the epoch.
    last_seen: float = 0.0
    #: Seconds that the machine was switched off meanwhile.
    stood_still: float = 0.0

    @classmethod
    def read(cls, folder: Path, now: float) -> Self:
        """The record of the job folder, or a new one."""
        try:
            kept: dict[str, Any] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            record = cls(folder, now)
            record.save()
            return record
        known = {attribute.name for attribute in fields(cls)} - {"folder"}
        return cls(folder, **{name: value for name, value in kept.items() if name in known})

    def save(self) -> None:
        """Write it whole or not at all."""
        values = asdict(self)
        del values["folder"]
        write_json(self.folder / _NAME, values)
