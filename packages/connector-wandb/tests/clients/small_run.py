"""A small run; with WANDB_MODE=offline in the environment it needs no network."""

import wandb

with wandb.init(entity="acme", project="lora-ft", id="small-1", config={"rank": 16}) as run:
    for step in range(50):
        run.log({"loss": 1 / (step + 1)})
