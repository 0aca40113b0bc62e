"""The trainer as a process: events on stdout, a lifeline on stdin, exit codes.

The supervisor holds the other ends. Nothing heavy is imported before the lifeline is watched, so that a trainer whose
supervisor died during the imports ends too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Final

from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio_worker.training.reporting import Report, StreamReport

DONE: Final = 0
CRASHED: Final = 1
LIFELINE_LOST: Final = 70
STOPPED: Final = 75
REFUSED: Final = 78


def run_process(job_dir: Path) -> int:
    """Train the job in `job_dir`; resumes from its newest checkpoint. Returns one of the exit codes above."""
    # peft and transformers warn each other of names they are about to retire; no reader of a log can act on it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    report = StreamReport(_claim_stdout(), on_lost_reader=lambda: os._exit(LIFELINE_LOST))
    stop = threading.Event()
    threading.Thread(target=_watch_lifeline, args=(stop,), name="lifeline", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        from peft_studio_worker.training.session import train_job

        return DONE if train_job(job_dir, report, stop) else STOPPED
    except PeftStudioError as error:
        _report_error(report, job_dir, error)
        return REFUSED
    except Exception as error:  # noqa: BLE001 -- whatever happens, the log must say so
        traceback.print_exc()
        _report_error(report, job_dir, error)
        return CRASHED


def _claim_stdout() -> int:
    """A private copy of stdout; what libraries print from now on goes to stderr."""
    sys.stdout.flush()
    events = os.dup(1)
    os.dup2(2, 1)
    return events


def _watch_lifeline(stop: threading.Event) -> None:
    """Ask for a stop when stdin says so; end at once when it closes, for then the supervisor is dead."""
    while line := os.read(0, 4096):
        if b"stop" in line:
            stop.set()
    os._exit(LIFELINE_LOST)


def _report_error(report: Report, job_dir: Path, error: Exception) -> None:
    remedy = error.remedy if isinstance(error, PeftStudioError) else None
    sentence = str(error) or type(error).__name__
    if not isinstance(error, PeftStudioError):
        sentence = f"the trainer crashed: {type(error).__name__}: {sentence}"
    problems = [str(problem) for problem in error.problems] if isinstance(error, InvalidConfig) else []
    report(
        "error",
        message=sentence if remedy is None else f"{sentence}; {remedy}",
        problems=problems,
        resumable=any(job_dir.glob("checkpoints/step-*/state.json")),
        kind=type(error).__name__,
    )
