"""The same job from Python."""

import asyncio
from pathlib import Path

from peft_studio import ConnectorManager, load_config


async def main() -> None:
    """Train, watch, bring the adapter home."""
    config = load_config(Path(__file__).with_name("job.toml"))
    async with ConnectorManager() as manager:
        await manager.connect("local")
        job_id = await manager.submit_job("local", config)
        async for line in manager.stream_logs("local", job_id):
            print(line)
        print("adapter:", await manager.download_artifact("local", job_id, "my-adapter"))


asyncio.run(main())
