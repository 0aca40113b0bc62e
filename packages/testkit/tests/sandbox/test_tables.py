"""Registry, tracker and endpoints: seeded and read."""

from __future__ import annotations

import pytest


def test_models(sandbox):
    """A model keeps what it was added with, under an id of its own."""
    model = sandbox.models.add("tiny", files={"a": b"1"}, metadata={"k": 1}, tags=["lora"], base_model="base")
    assert model is sandbox.models[model.id]
    assert ("tiny", {"a": b"1"}, {"k": 1}, ("lora",), "base") == (
        model.name, model.files, model.metadata, model.tags, model.base_model,
    )  # fmt: skip


def test_runs(sandbox):
    """A run begins empty and running."""
    run = sandbox.runs.add({"lr": 1})
    run.metrics.append((1, {"loss": 0.5}))
    run.text.append("hello")
    assert ({"lr": 1}, "running", [(1, {"loss": 0.5})], ["hello"]) == (run.config, run.status, run.metrics, run.text)


def test_deployments(sandbox):
    """A deployment is ready and was asked nothing; it can be taken away."""
    deployment = sandbox.deployments.add("model-1", url="http://x")
    assert ("model-1", "ready", "http://x", []) == (
        deployment.model_id, deployment.status, deployment.url, deployment.invocations,
    )  # fmt: skip
    del sandbox.deployments[deployment.id]
    assert 0 == len(sandbox.deployments)


def test_an_id_is_given_once(sandbox):
    """Adding a record under an id that is taken is refused."""
    sandbox.models.add("a", id="m")
    with pytest.raises(ValueError, match="a model 'm' already"):
        sandbox.models.add("b", id="m")
