"""Draws docs/images/live-view.svg: the live view of a real job, at the moment of its STEP-th step.

python docs/make_live_view.py JOB STEP
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from peft_studio import Ledger
from peft_studio.cli.view import LiveView


def main(job_id: str, step: int) -> None:
    """Show the job's events to the view, and keep what it draws."""
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    with Ledger() as ledger:
        job = ledger.job(job_id)
        view = LiveView(job, console=console)
        for event in ledger.events(job.id):
            view.take_in(event)
            if event.type == "step" and event.data["step"] == step:
                break
    console.print(view.picture())
    image = Path(__file__).parent / "images" / "live-view.svg"
    image.parent.mkdir(exist_ok=True)
    drawing = console.export_svg(title="peft-studio run job.toml")
    image.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL), encoding="utf-8")  # no downloads


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
