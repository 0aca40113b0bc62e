"""Jobs on machines that are rented for them: what every platform has in common that rents out bare machines."""

from __future__ import annotations

from peft_studio.rented.inputs import Input, inputs_of
from peft_studio.rented.worker import Worker, WorkerState

__all__ = ["Input", "Worker", "WorkerState", "inputs_of"]
