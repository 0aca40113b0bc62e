"""A run without a network: WANDB_MODE=offline is in the environment."""

import wandb

with wandb.init(entity="acme", project="lora-ft", id="off-1", config={"rank": 16}) as run:
    for step in range(50):
        run.log({"loss": 1 / (step + 1)})
