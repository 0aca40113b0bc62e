"""An adapter as an artifact: written, written again, changed, used and downloaded. Writes seen.json."""

import json
from pathlib import Path

import wandb

HOME = "acme/lora-ft"


def adapter(weights: bytes) -> wandb.Artifact:
    """A folder of two files."""
    folder = Path("adapter")
    (folder / "nested").mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text('{"r": 16}')
    (folder / "nested" / "adapter_model.safetensors").write_bytes(weights)
    artifact = wandb.Artifact("my-adapter", "model", metadata={"r": 16}, description="the adapter")
    artifact.add_dir(str(folder))
    return artifact


def main() -> None:
    """Write, then read."""
    seen = {}
    with wandb.init(entity="acme", project="lora-ft", id="writer") as run:
        seen["first"] = run.log_artifact(adapter(b"one" * 9999), aliases=["latest", "best"]).wait().version
        seen["same"] = run.log_artifact(adapter(b"one" * 9999), aliases=["latest", "again"]).wait().version
        seen["changed"] = run.log_artifact(adapter(b"two" * 9999)).wait().version
    with wandb.init(entity="acme", project="lora-ft", id="reader") as run:
        seen["used"] = run.use_artifact("my-adapter:best").version
    api = wandb.Api()
    seen["versions"] = [each.version for each in api.artifacts("model", f"{HOME}/my-adapter")]
    seen["collections"] = [each.name for each in api.artifact_collections(HOME, "model")]
    seen["logged"] = [each.name for each in api.run(f"{HOME}/writer").logged_artifacts()]
    seen["used by reader"] = [each.name for each in api.run(f"{HOME}/reader").used_artifacts()]
    first = api.artifact(f"{HOME}/my-adapter:v0")
    seen["about"] = [first.type, first.metadata, first.description, sorted(first.aliases), first.state]
    seen["size"] = [first.file_count, first.size]
    seen["creator"] = first.logged_by().id
    folder = Path(first.download("first", skip_cache=True))
    first.verify("first")
    seen["bytes"] = len((folder / "nested" / "adapter_model.safetensors").read_bytes())
    latest = api.artifact(f"{HOME}/my-adapter:latest")
    seen["entry"] = Path(latest.get_entry("adapter_config.json").download("latest", skip_cache=True)).read_text()
    seen["listed"] = sorted(file.name for file in latest.files())
    first.aliases = ["golden"]
    first.save()
    seen["golden"] = api.artifact(f"{HOME}/my-adapter:golden").version
    first.delete(delete_aliases=True)
    seen["left"] = [each.version for each in api.artifacts("model", f"{HOME}/my-adapter")]
    Path("seen.json").write_text(json.dumps(seen))


main()
