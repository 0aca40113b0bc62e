"""Submits so many jobs to acme, whatever comes of them: `python buying_client.py COUNT DATASET`."""

from __future__ import annotations

import asyncio
import sys

from peft_studio import ConnectionFailed, ConnectorManager, PlatformError, TrainingConfig


async def buy(count: int, dataset: str) -> None:
    """One after the other, as a script of a user would; an error of one stops none of the others."""
    config = TrainingConfig(base_model="HuggingFaceTB/SmolLM2-135M-Instruct", dataset_path=dataset)
    async with ConnectorManager() as manager:
        await manager.connect("acme")
        for _ in range(count):
            try:
                await manager.submit_job("acme", config)
            except (ConnectionFailed, PlatformError):
                continue


if __name__ == "__main__":
    asyncio.run(buy(int(sys.argv[1]), sys.argv[2]))
