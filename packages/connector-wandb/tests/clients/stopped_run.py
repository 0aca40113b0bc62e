"""A run whose Stop button is pressed: the SDK interrupts its program, at one of its looks every 15 seconds."""

import json
import time
from pathlib import Path

import wandb


def is_interrupted() -> bool:
    """Whether pressing Stop interrupts the program."""
    settings = wandb.Settings(x_file_stream_transmit_interval=0.5)
    with wandb.init(entity="acme", project="lora-ft", id="stopped", settings=settings) as run:
        wandb.Api().run("acme/lora-ft/stopped").stop()
        try:
            for _ in range(160):
                run.log({"loss": 1})
                time.sleep(0.25)
        except KeyboardInterrupt:
            return True
    return False


Path("seen.json").write_text(json.dumps(is_interrupted()))
