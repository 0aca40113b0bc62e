"""Follow many jobs at once as the command line does: manager, connector, ledger. Tells what `follow_client.py` tells.

The jobs are in the ledger already, as if another program had submitted them. Runs in our environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from follow_client import TOKEN, measured

from peft_studio import ConnectorManager, JobStatus, Ledger, PricingInfo, Resource, TrainingConfig
from peft_studio.rented import Launch, Machine, MachineState, Offer, RentedMachineConnector

CONFIG = TrainingConfig(base_model="someone/model", dataset_path="facts.jsonl")


class Hangar(RentedMachineConnector):
    """A platform whose machines all run, each at an address of its own under the one that `connect` gets."""

    name, display_name, description, version = "hangar", "Hangar", "For measuring", "1.0"

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        self._address = credentials["address"]
        return True

    async def disconnect(self) -> bool:
        return True

    @property
    def account_secret(self) -> str:
        return TOKEN

    async def get_machine(self, id: str) -> Machine:
        address = f"{self._address}/{id}"
        return Machine(
            id=id, name=id, tag=id, state=MachineState.RUNNING, status="UP", address=address, token=TOKEN
        )  # fmt: skip

    async def list_machines(self) -> list[Machine]:
        return []

    async def end_machine(self, id: str) -> None:
        raise NotImplementedError

    async def list_offers(self, config: TrainingConfig) -> Sequence[Offer]:
        raise NotImplementedError

    async def rent(self, offer: Offer, launch: Launch) -> Machine:
        raise NotImplementedError

    def boot_log(self, id: str) -> AsyncGenerator[str]:
        raise NotImplementedError

    def teardown_steps(self) -> Sequence[Mapping[str, Any]]:
        return []

    async def list_resources(self) -> list[Resource]:
        return []

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        raise NotImplementedError


async def main(address: str, jobs: int, steps: int) -> dict[str, object]:
    """All of them, to their last step."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite3") as ledger:
        for number in range(jobs):
            tag = f"ps-job-{number}"
            ledger.record_intent(tag, "hangar", CONFIG)
            ledger.record_submitted(tag, str(number))
            ledger.record_reachable(tag, JobStatus.RUNNING)
        async with ConnectorManager(
            ledger=ledger, connectors=[Hangar], discover=False, credentials={"hangar": {"address": address}}
        ) as manager:
            return await measured([follow(manager, f"ps-job-{number}", steps) for number in range(jobs)])


async def follow(manager: ConnectorManager, id: str, steps: int) -> list[float]:
    """Seconds that each event was late. The last step is the end: what comes after it is no part of following."""
    lags = []
    async with aclosing(manager.jobs.follow(id)) as events:
        async for event in events:
            lags.append((datetime.now(UTC) - event.time).total_seconds())
            if event.sequence == steps:
                break
    return lags


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
