"""Jobs on machines that are rented for them: what every platform has in common that rents out bare machines."""

from __future__ import annotations

from peft_studio.rented.connector import Limits, RentedMachineConnector
from peft_studio.rented.inputs import Input, inputs_of
from peft_studio.rented.machine import Launch, Machine, MachineState, Offer
from peft_studio.rented.script import bootstrap_script
from peft_studio.rented.uncollected import hub_variables
from peft_studio.rented.worker import Worker, WorkerState

__all__ = [
    "Input",
    "Launch",
    "Limits",
    "Machine",
    "MachineState",
    "Offer",
    "RentedMachineConnector",
    "Worker",
    "WorkerState",
    "bootstrap_script",
    "hub_variables",
    "inputs_of",
]
