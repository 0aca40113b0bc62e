"""Record finished jobs in a ledger through its API, as submissions and followers do. Runs in our environment."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from peft_studio import JobEvent, Ledger, TrainingConfig

STATUSES = ("completed", "completed", "completed", "failed", "cancelled")


def main(count: int) -> None:
    """Record `count` jobs, each with a first and a last state."""
    with Ledger() as ledger:
        for number in range(count):
            config = TrainingConfig(
                base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
                dataset_path=f"/data/questions-{number}.jsonl",
                project_name=f"measured {number % 7}",
                output_dir=f"/data/adapters/{number}",
            )
            tag = ledger.new_tag(config)
            ledger.record_intent(tag, "local", config)
            ledger.record_submitted(tag, tag)
            ledger.add_events(tag, [state(1, "running"), state(2, STATUSES[number % len(STATUSES)])])


def state(sequence: int, status: str) -> JobEvent:
    """A state event of now."""
    data = {"status": status, "reason": None, "resumable": False, "cost": "0.0000"}
    return JobEvent(sequence=sequence, time=datetime.now(UTC), type="state", data=data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
