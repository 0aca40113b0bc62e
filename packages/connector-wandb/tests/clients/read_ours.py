"""Reads with the public API what the connector has written: run, rows, console and artifact; writes seen.json."""

import json
from pathlib import Path

import wandb

run = wandb.Api().run("acme/lora/ours-1")
meant = {"state": "finished", "displayName": {"$regex": "(?i)OUR"}}
artifact = wandb.Api().artifact("acme/lora/adapter:latest")
folder = Path(artifact.download("home"))
seen = {
    "listed": [["/".join(each.path), each.name] for each in wandb.Api().runs("acme/lora", order="-created_at")],
    "found": ["/".join(each.path) for each in wandb.Api().runs("acme/lora", filters=meant)],
    "rows": [(row["_step"], row["train/loss"]) for row in run.scan_history()],
    "state": run.state,
    "config": dict(run.config),
    "summary": {key: value for key, value in dict(run.summary).items() if not key.startswith("_")},
    "name": run.name,
    "artifact": [artifact.version, artifact.type, artifact.logged_by().id],
    "files": {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()},
}
Path("seen.json").write_text(json.dumps(seen), encoding="utf-8")
