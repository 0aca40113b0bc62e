"""Pieces of a run that come with their place: sent at their offsets, in as few requests as they fit into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from peft_studio import InvalidConfig, JobStatus, RunBatch, RunLine, RunRow
from peft_studio_wandb.api import WandbApi
from peft_studio_wandb.journal import LARGEST_PART, Lines, as_line, checked, console_lines
from peft_studio_wandb.paths import RunPath
from peft_studio_wandb.run_stream import CONSOLE, HISTORY, SUMMARY, at

#: Of a console line, letters: each takes up to four bytes.
LONGEST_TEXT: Final = LARGEST_PART // 4
#: How a run can end. W&B has no word for cancelled that a client may say: it stands in the summary.
_EXIT_CODES: Final = {JobStatus.COMPLETED: 0, JobStatus.FAILED: 1, JobStatus.CANCELLED: 130}


def ending(status: JobStatus) -> Mapping[str, Any]:
    """What the file stream is told of a run that stops. Raises `InvalidConfig`."""
    if status is JobStatus.PAUSED:
        return {"preempting": True}
    if status not in _EXIT_CODES:
        raise InvalidConfig(f"a run cannot end as {status}", remedy=f"say {', '.join(_EXIT_CODES)} or paused")
    return {"complete": True, "exitcode": _EXIT_CODES[status]}


async def send_batch(api: WandbApi, run: RunPath, batch: RunBatch) -> bool:
    """True when somebody has pressed Stop. The last request carries the summary, and the end where there is one."""
    rows, lines = Lines(batch.first_row), Lines(batch.first_line)
    for row in batch.rows:
        rows.put(rows.end, _line_of(row))
    for line in batch.lines:
        lines.put(lines.end, _console_line(line))
    is_stopped = False
    while True:
        files: dict[str, Any] = {}
        for name, written in ((HISTORY, rows), (CONSOLE, lines)):
            part = written.part()
            if part is not None:
                files[name] = at(*part)
                written.confirm(part)
        if not (rows.is_confirmed and lines.is_confirmed):
            is_stopped = await api.stream(run, {"files": files}) or is_stopped
            continue
        end = {} if batch.status is None else ending(batch.status)
        body = {"files": {**files, SUMMARY: at(0, [_summary(batch)])}, **end}
        return await api.stream(run, body) or is_stopped


def _console_line(line: RunLine) -> str:
    """A line has one place, whatever is in it; one that is longer than W&B keeps is cut, as all before it is told."""
    text = " ".join(line.text.splitlines())
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT} more)"
    (written,) = console_lines(text, line.time, is_error=line.is_error)
    return written


def _line_of(row: RunRow) -> str:
    return as_line({"_step": row.step, "_timestamp": row.time.timestamp(), **checked(row.metrics)})


def _summary(batch: RunBatch) -> str:
    status = {} if batch.status is None else {"job_status": str(batch.status)}
    return as_line({**checked(batch.summary), **status})
