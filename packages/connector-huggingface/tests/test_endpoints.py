"""Inference endpoints over plain HTTP."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

WISH: dict[str, Any] = {
    "name": "tiny",
    "provider": {"vendor": "aws", "region": "us-east-1"},
    "compute": {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1"},
    "model": {"repository": "me/tiny", "revision": None, "framework": "pytorch", "task": "text-generation"},
}


@pytest.fixture(autouse=True)
def model(sandbox):
    """What is served, a minute after it was asked for."""
    sandbox.serving.start = (5, 60)
    sandbox.hub.add("me/tiny", private=True)


def test_an_endpoint_costs_until_it_rests(sandbox, api):
    """Scaled to zero it is free; whoever asks for it wakes it, and has to wait."""
    assert 200 == api.post("/v2/endpoint/me", json=WISH).status_code
    assert {"me/tiny": Decimal("0.80")} == sandbox.bills()
    assert 503 == api.get("/served/me/tiny/health").status_code
    sandbox.advance(60)
    assert 200 == api.get("/served/me/tiny/health").status_code
    api.post("/v2/endpoint/me/tiny/scale-to-zero")
    assert {} == sandbox.bills()
    assert 503 == api.get("/served/me/tiny/health").status_code
    assert "pending" == api.get("/v2/endpoint/me/tiny").json()["status"]["state"]


def test_an_endpoint_needs_a_model_money_and_permission(sandbox, api):
    """Of which one that is missing is enough to get none."""
    reader = {"authorization": f"Bearer {sandbox.accounts.issue('me', 'read')}"}
    assert 403 == api.post("/v2/endpoint/me", json=WISH, headers=reader).status_code
    missing = {**WISH, "model": {"repository": "me/missing"}}
    assert 404 == api.post("/v2/endpoint/me", json=missing).status_code
    sandbox.accounts.owner.can_pay = False
    assert 402 == api.post("/v2/endpoint/me", json=WISH).status_code
    assert {} == sandbox.serving.endpoints
