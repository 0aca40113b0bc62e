"""Feeds the log of a job and drains the queue, until it is killed or nothing waits: `python doomed_drainer.py`.

What it needs stands in the environment: PEFT_STUDIO_HOME, WANDB_API_KEY and WANDB_BASE_URL. It ends with 0 when the
tracker has everything.
"""

from __future__ import annotations

import asyncio
import sys

from peft_studio import ConnectorManager, Ledger
from peft_studio.queue import Queue, State
from peft_studio.queue.drain import Drainer
from peft_studio.tracking.feed import Feeder

LEASE = 0.5


async def main() -> int:
    """Until everything has arrived; 1 when something never will."""
    with Ledger() as ledger, Queue(lease=LEASE) as queue:
        async with ConnectorManager(ledger=ledger) as manager:
            while True:
                Feeder(ledger, queue).feed_all()
                queue.hurry()
                await Drainer(queue, manager, ledger).drain()
                if queue.operations(State.DEAD):
                    return 1
                if not queue.operations(State.WAITING, State.RUNNING):
                    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
