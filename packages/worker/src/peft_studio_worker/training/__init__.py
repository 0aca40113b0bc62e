"""The trainer: one process that turns a job folder into an adapter.

Rooms, in the order in which a run passes through them: `process` (protocol, exit codes) and `session` (the plot);
`datasets`, `formats`, `examples` (from a file to tokens); `base_model`, `gguf` (where the model is); `preparation` with
`algorithms`, `targets`, `precision`, `memory`, `sharing` (all that is checked before training); `plan`, `batches`,
`loss`, `schedule`, `adalora`, `loop` (training itself); `checkpoints`, `artifact`, `model_card` (what is kept).
"""

from __future__ import annotations

from pathlib import Path


def run(job_dir: Path) -> int:
    """Be the trainer process of the job in `job_dir` and return the exit code; see `process`."""
    from peft_studio_worker.training.process import run_process

    return run_process(job_dir)
