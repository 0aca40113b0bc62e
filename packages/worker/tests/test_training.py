"""A whole run: events, checkpoints, artifact."""

from __future__ import annotations

from pathlib import Path

from peft_studio.artifacts import verify


def test_a_run_learns_and_leaves_an_artifact(make_job, train) -> None:
    """The loss falls, and the artifact folder is whole."""
    folder: Path = make_job(num_epochs=3)

    events = train(folder)

    assert events.losses()[-1] < events.losses()[0] - 0.3
    assert events.of("artifact")[0]["manifest_sha256"] == verify(folder / "artifact").sha256
