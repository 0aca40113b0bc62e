"""Submit one small job to the local connector and follow its log. Runs in our environment."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from stamps import lag

from peft_studio import ConnectorManager, TrainingConfig


async def main(model: str, data: str, steps: int) -> dict[str, object]:
    """What a client sees: seconds from the submit call, and the lag of each stamped line."""
    config = TrainingConfig(
        base_model=model, dataset_path=data, batch_size=8, num_epochs=1000, max_steps=steps, learning_rate=1e-3
    )
    async with ConnectorManager() as manager:
        await manager.connect("local")
        started = time.perf_counter()
        job = await manager.submit_job("local", config)
        submitted = time.perf_counter() - started
        first, first_of_process, lags, said = None, None, [], ""
        async for line in manager.stream_logs("local", job):
            behind, passed = lag(line), time.perf_counter() - started
            first = passed if first is None else first
            if behind is None:
                said = line
            else:
                first_of_process = passed if first_of_process is None else first_of_process
                lags.append(behind)
        status = str(await manager.get_job_status("local", job))
    return {
        "submit": submitted, "first": first, "first_of_process": first_of_process, "lags": lags, "status": status,
        "last_words": said,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
