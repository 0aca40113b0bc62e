"""Runs that are resumed, found, changed and deleted. Writes seen.json."""

import json
from pathlib import Path

import wandb

HOME = "acme/lora-ft"


def rows(run_id: str, first: int, **settings) -> None:
    """Ten rows of a run."""
    with wandb.init(entity="acme", project="lora-ft", id=run_id, config={"first": first}, **settings) as run:
        for step in range(first, first + 10):
            run.log({"loss": 1 / (step + 1)})
        if first:
            run.mark_preempting()
            run.finish(exit_code=3)


def found(api: wandb.Api) -> dict:
    """Lists, with filters, order and pages."""
    wanted = [{"config.first": 10}, {"summary_metrics.loss": {"$lt": 0.06}}, {"state": "failed"}]
    return {
        "projects": sorted(project.name for project in api.projects("acme")),
        "runs": [run.id for run in api.runs(HOME, order="+created_at", per_page=2)],
        "newest first": [run.id for run in api.runs(HOME, order="-created_at", per_page=1)],
        "filtered": [run.id for run in api.runs(HOME, filters={"$and": wanted})],
        "of a state": sorted(run.id for run in api.runs(HOME, filters={"state": {"$in": ["finished"]}})),
        "none": len(api.runs(HOME, filters={"display_name": {"$regex": "^no"}})),
    }


def main() -> None:
    """All of it."""
    api = wandb.Api()
    rows("life", 0)
    rows("life", 10, resume="must")
    for run_id in ("other", "third"):
        rows(run_id, 0)
    seen = found(api)
    life = api.run(f"{HOME}/life")
    seen["rows"] = [row["loss"] for row in life.scan_history()]
    life.tags = ["edited"]
    life.config["extra"] = 1
    life.summary["best"] = 0.5
    life.update()
    again = wandb.Api().run(f"{HOME}/life")
    seen["edited"] = [again.tags, again.config["extra"], again.summary["best"], again.state]
    api.run(f"{HOME}/other").delete()
    try:
        wandb.Api().run(f"{HOME}/other")
    except (ValueError, wandb.errors.CommError) as error:
        seen["deleted"] = str(error)
    Path("seen.json").write_text(json.dumps(seen))


main()
