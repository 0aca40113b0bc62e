"""A run from init to finish by the SDK, and what its public API reads back; writes what it saw to seen.json."""

import json
from pathlib import Path

import wandb

ROWS = 120


def main() -> None:
    """Write, then read."""
    with wandb.init(
        entity="acme", project="lora-ft", id="ft-1", name="qwen r16", group="exp1", job_type="train", notes="first",
        tags=["lora", "qwen"], config={"learning_rate": 2e-4, "lora": {"r": 16}},
    ) as run:  # fmt: skip
        print("hello console")  # noqa: T201 -- it is what the console shall have
        for step in range(ROWS):
            run.log({"train/loss": 1 / (step + 1), "epoch": step // 10})
        run.summary["best"] = 0.01
    api = wandb.Api()
    back = api.run("acme/lora-ft/ft-1")
    seen = {
        "scanned": list(back.scan_history()),
        "columns": list(back.scan_history(keys=["train/loss", "epoch"], page_size=50)),
        "sampled": len(back.history(samples=10, pandas=False)),
        "keys": sorted(back.history_keys["keys"]),
        "summary": {name: back.summary[name] for name in ("best", "train/loss")},
        "config": back.config, "state": back.state, "tags": back.tags,
        "about": [back.name, back.group, back.job_type, back.notes, back.user.username],
        "system": len(back.history(stream="system", pandas=False)),
        "files": sorted(file.name for file in back.files()),
        "console": [line.content for line in back.console_logs()],
        "config file": back.file("config.yaml").download(replace=True).read(),
    }  # fmt: skip
    Path("seen.json").write_text(json.dumps(seen))


main()
