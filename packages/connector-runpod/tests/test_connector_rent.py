"""Renting a pod: what RunPod is asked, that it is asked once, and what becomes of each refusal."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from peft_studio import (
    CapacityError,
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    PlatformError,
    RateLimitError,
    TrainingConfig,
)
from peft_studio.rented import Launch, bootstrap_script
from peft_studio_runpod.pods import create_body
from peft_studio_runpod.sandbox.problems import NO_CAPACITY
from peft_studio_runpod.settings import IMAGE, Settings

A5000, RTX_4090 = "NVIDIA RTX A5000", "NVIDIA GeForce RTX 4090"
CREATE = ("POST", "/v2/pods$")


def job(resource_id: str | None = None, **more: object) -> TrainingConfig:
    """A config whose files are not looked at before the machine is there."""
    return TrainingConfig(
        base_model="a/b", dataset_path="facts.jsonl", tag="ps-rent-1", resource_id=resource_id, **more
    )


def creates(sandbox) -> list[dict]:
    """The bodies of the requests that create."""
    asked = [each for each in sandbox.requests if (each.method, each.path) == ("POST", "/v2/pods")]
    return [json.loads(each.body) for each in asked]


async def test_a_pod_is_asked_for_with_all_that_it_needs(sandbox, connect):
    """Name, image, GPUs with their count, disk, mount, port, start command, and the worker's environment."""
    connector = await connect(
        data_centers="EU-RO-1", disk_gb="60", worker_install="./a.whl", push_to="me/adapters", hf_token="hf_0123456789"
    )
    id = await connector.submit_job(job("RTX 4090", max_cost="2.50"))
    (body,) = creates(sandbox)
    environment = body.pop("env")
    assert {
        "name": "ps-rent-1",
        "image": IMAGE,
        "cloud": "SECURE",
        "gpu": {"id": RTX_4090, "count": 1, "minCudaVersion": "12.8"},
        "dataCenterIds": ["EU-RO-1"],
        "disk": 60,
        "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
        "ports": ["8000/http"],
        "entrypoint": ["/bin/sh", "-c"],
        "cmd": [bootstrap_script()],
    } == body
    mine = {name.removeprefix("PEFT_STUDIO_WORKER_"): value for name, value in environment.items()}
    assert ("ps-rent-1", "/workspace/peft-studio", "0.750959", "2.50") == tuple(
        mine[name] for name in ("JOB", "ROOT", "HOURLY_RATE", "MAX_COST")
    )
    assert ("./a.whl", "hf_0123456789") == (mine["INSTALL"], environment["HF_TOKEN"])
    push = {"kind": "huggingface", "repo_id": "me/adapters", "private": True, "token_env": "HF_TOKEN"}
    assert push == json.loads(mine["PUSH"])
    assert "EU-RO-1" == sandbox.pods[id].place.data_center
    assert sandbox.key not in json.dumps(environment)


async def test_the_next_offer_is_taken_when_one_is_gone(sandbox, connector):
    """The catalogue still shows it; the reason is nobody's concern once a pod is there."""
    sandbox.catalogue.vanished.add(A5000)
    sandbox.catalogue.closed.add("NVIDIA GeForce RTX 3090")
    id = await connector.submit_job(job())
    assert RTX_4090 == sandbox.pods[id].place.gpu
    assert [A5000, "NVIDIA GeForce RTX 3090", RTX_4090] == [body["gpu"]["id"] for body in creates(sandbox)]


async def test_the_next_cloud_is_taken_too(sandbox, connect):
    """A GPU type that is gone in one cloud may be there in the other."""
    sandbox.catalogue.set_stock(RTX_4090, 0, clouds=["COMMUNITY"])
    connector = await connect(clouds="SECURE,COMMUNITY", gpu_types="RTX 4090")
    id = await connector.submit_job(job())
    assert "SECURE" == sandbox.pods[id].place.cloud


async def test_when_nothing_can_be_had_each_refusal_is_told(sandbox, connector):
    """In RunPod's words; a GPU that is not open may also be a key that may only read."""
    sandbox.catalogue.vanished.add(A5000)
    sandbox.catalogue.closed.add(RTX_4090)
    with pytest.raises(CapacityError) as caught:
        await connector.submit_job(job("RTX A5000, RTX 4090"))
    first, second = caught.value.why.split("; ", 1)
    assert f"RTX A5000, secure cloud, any data centre, 0.28 USD/h: {NO_CAPACITY}" == first
    assert "access denied (this GPU is not open to the account, or the key may only read)" in second
    assert "clouds" in caught.value.remedy
    assert {} == sandbox.bills()


async def test_a_key_that_may_only_read_is_named(sandbox, connector):
    """RunPod answers 403 to every candidate, as it does for GPUs that are not open."""
    sandbox.account.read_only()
    with pytest.raises(CapacityError, match="the key may only read"):
        await connector.submit_job(job())


async def test_without_credit_the_balance_is_told(sandbox, connector):
    """402 ends the search at once."""
    sandbox.account.balance = "0.10"
    with pytest.raises(InsufficientCreditsError) as caught:
        await connector.submit_job(job())
    assert "add credit on RunPod's page: the balance is 0.10 USD" == caught.value.remedy
    assert 1 == len(creates(sandbox))


async def test_without_credit_the_balance_need_not_be_known(sandbox, connector):
    """GraphQL is out of order: the refusal is told all the same."""
    sandbox.account.balance = 0
    sandbox.faults.add("status", "POST", "/graphql", code=500, body="", times=None)
    with pytest.raises(InsufficientCreditsError) as caught:
        await connector.submit_job(job())
    assert "add credit on RunPod's page" == caught.value.remedy


@pytest.mark.parametrize(
    ("code", "detail", "kind"),
    [
        (422, "Request validation failed.", PlatformError),
        (404, "template not found", PlatformError),
        (401, "invalid bearer token", InvalidCredentials),
        (429, "rate limit exceeded for the minute window", RateLimitError),
    ],
)
async def test_what_no_other_offer_mends_ends_the_search(sandbox, connector, code, detail, kind):
    """Asked once, and told in RunPod's words; it is no lack of capacity."""
    body = {"title": "No", "status": code, "detail": detail}
    sandbox.faults.add("status", *CREATE, code=code, body=json.dumps(body), headers={"Retry-After": "60"}, times=None)
    with pytest.raises(kind, match=detail) as caught:
        await connector.submit_job(job())
    assert not isinstance(caught.value, CapacityError)
    assert 1 == len(creates(sandbox))


async def test_a_lost_answer_is_found_by_its_tag(sandbox, connector):
    """The pod is there; it is not asked for again, and another instance finds it."""
    sandbox.lose_answer_of_create()
    with pytest.raises(ConnectionFailed):
        await connector.submit_job(job())
    (pod,) = sandbox.pods.values()
    assert 1 == len(creates(sandbox))
    assert pod.id == await connector.find_job("ps-rent-1")
    assert await connector.find_job("ps-rent-2") is None


async def test_a_pod_in_a_new_kind_of_state_is_a_pod(sandbox, connector):
    """A create that was answered is no refusal, and no word of RunPod's keeps a lost one from being found."""
    body = {"id": "abc", "status": "QUEUED", "name": "ps-rent-1", "env": {"PEFT_STUDIO_WORKER_JOB": "ps-rent-1"}}
    sandbox.faults.add("shape", *CREATE, body=body)
    assert "abc" == await connector.submit_job(job())
    older = {**body, "id": "def", "createdAt": "2026-06-01T12:00:00Z"}
    sandbox.faults.add("shape", "GET", "/v2/pods$", body={"pods": [body, older]})
    assert "def" == await connector.find_job("ps-rent-1")


@pytest.mark.parametrize("number", [502, 524, 1010])
async def test_an_answer_of_the_edge_leaves_it_open(sandbox, connector, number):
    """Nobody knows whether RunPod has seen the request."""
    sandbox.edge_error(number, *CREATE, times=None)
    with pytest.raises(ConnectionFailed):
        await connector.submit_job(job())
    assert 1 == len(creates(sandbox))


@pytest.mark.parametrize("body", [{}, [], {"id": "x"}, {"id": "", "status": "RUNNING"}])
async def test_an_answer_that_is_no_pod_leaves_it_open(sandbox, connector, body):
    """No id is made up."""
    sandbox.faults.add("shape", *CREATE, body=body, times=None)
    with pytest.raises(ConnectionFailed, match="cannot be read"):
        await connector.submit_job(job())
    assert 1 == len(creates(sandbox))


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({f"A{number}": "" for number in range(51)}, "a pod can have 50 environment variables, not 51"),
        ({"RUNPOD_API_KEY": "x"}, "RUNPOD_API_KEY: variables of a pod that begin with RUNPOD_ are RunPod's own"),
        ({"A": "x" * 100_000}, "the request for a pod has 10"),
    ],
    ids=["many", "hidden", "large"],
)
async def test_what_runpod_would_not_take_is_not_sent(connector, variables, sentence):
    """Before anything costs."""
    (offer,) = await connector.list_offers(job("RTX 4090"))
    launch = Launch(tag="ps-1", script=bootstrap_script(), variables=variables, port=8000, mount="/workspace")
    with pytest.raises(InvalidConfig, match=sentence):
        create_body(offer, launch, Settings())


async def test_the_rented_pod_says_what_it_costs(sandbox, connector):
    """GPUs as RunPod tells them, storage as its page does; what the sandbox bills, rounded up."""
    (offer,) = await connector.list_offers(job("RTX 4090"))
    launch = Launch(tag="ps-1", script="sleep 60", variables={}, port=8000, mount="/workspace")
    machine = await connector.rent(offer, launch)
    billed = sandbox.bills()[machine.id]
    assert Decimal(0) <= machine.hourly_rate - billed < Decimal("0.000001")
    assert offer.hourly_rate == machine.hourly_rate
