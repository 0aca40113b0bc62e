"""Pods as machines: where they stand, what they cost, how they are stopped and ended, and who may see what."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from attrs import evolve

from peft_studio import (
    CapacityError,
    ConnectionFailed,
    InvalidCredentials,
    JobNotFound,
    PlatformError,
    TrainingConfig,
)
from peft_studio.rented import MachineState
from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.pods import Pod
from peft_studio_runpod.settings import Settings
from peft_studio_worker.serving.teardown import parse_steps, run, try_all

RTX_4090 = "NVIDIA GeForce RTX 4090"
TAGGED = {"PEFT_STUDIO_WORKER_JOB": "ps-pod-1", "PEFT_STUDIO_WORKER_TOKEN": "t" * 40, "PEFT_STUDIO_WORKER_PORT": "9000"}
MOUNT = {"persistent": {"size": 100, "path": "/workspace"}}


async def test_a_machine_is_what_runpod_says_of_the_pod(sandbox, connector, rent):
    """Tag, token and port come from its own environment, the address from where its ports are served."""
    pod = rent(name="renamed", env=TAGGED, mounts=MOUNT)
    machine = await connector.get_machine(pod.id)
    assert ("ps-pod-1", "renamed", "RUNNING") == (machine.tag, machine.name, machine.status)
    assert (f"{sandbox.url}/proxy/{pod.id}-9000", "t" * 40) == (machine.address, machine.token)
    assert f"{RTX_4090}@SECURE" == machine.resource_id
    assert sandbox.timeline.text(pod.created) == machine.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert "t" * 40 not in repr(machine)


async def test_states_follow_runpods_words(sandbox, connector, rent, api, wanted):
    """A pod that is being made starts; one that is stopped can be started again; ERROR is for good."""
    id = api.post("/v2/pods", json=wanted()).json()["id"]
    seen = []
    for seconds in (0, 2, 3):
        sandbox.advance(seconds)
        machine = await connector.get_machine(id)
        seen.append((machine.status, machine.state))
    await connector.stop_machine(id)
    seen.append(((await connector.get_machine(id)).status, (await connector.get_machine(id)).state))
    sandbox.pods.fail_pod(sandbox.pods[id])
    seen.append(((await connector.get_machine(id)).status, (await connector.get_machine(id)).state))
    assert [
        ("PROVISIONING", MachineState.STARTING),
        ("STARTING", MachineState.STARTING),
        ("RUNNING", MachineState.RUNNING),
        ("EXITED", MachineState.STOPPED),
        ("ERROR", MachineState.BROKEN),
    ] == seen


def shape(pod: Pod, **changes: object) -> dict:
    """What RunPod tells of a pod, changed."""
    return {**pod.show(), **changes}


async def test_a_word_that_nobody_knows_is_quoted(sandbox, connector, rent):
    """It is no state; and what costs is listed all the same, and can be ended."""
    pod = rent()
    fault = sandbox.faults.add("shape", "GET", f"/v2/pods/{pod.id}$", body=shape(pod, status="MIGRATING"), times=None)
    with pytest.raises(ConnectionFailed, match="MIGRATING"):
        await connector.get_machine(pod.id)
    sandbox.faults.remove(fault)
    body = {"pods": [shape(pod, status="MIGRATING")]}
    sandbox.faults.add("shape", "GET", "/v2/pods$", body=body, times=2)
    assert ["MIGRATING"] == [rental.status for rental in await connector.list_rentals()]
    assert await connector.end_rental(pod.id)
    assert pod.is_deleted


async def test_what_runpod_only_remembers_is_gone(sandbox, connector, rent):
    """TERMINATED is like 404, and not on the list."""
    pod = rent(env=TAGGED)
    body = shape(pod, status="TERMINATED")
    sandbox.faults.add("shape", "GET", f"/v2/pods/{pod.id}$", body=body)
    with pytest.raises(JobNotFound):
        await connector.get_machine(pod.id)
    sandbox.faults.add("shape", "GET", "/v2/pods$", body={"pods": [body]})
    assert [] == await connector.list_machines()
    with pytest.raises(JobNotFound):
        await connector.get_machine("no-such-pod")


@pytest.mark.parametrize(
    ("environment", "name", "tag"),
    [
        ({"PEFT_STUDIO_WORKER_JOB": "ps-1"}, "renamed", "ps-1"),
        ({}, "ps-1", None),
        (None, "ps-1", "ps-1"),
        (None, "web server", None),
        ("hidden", "ps-1", "ps-1"),
    ],
)
def test_a_tag_stands_in_the_environment(environment, name, tag):
    """A name is no proof; it is believed only where RunPod does not show the environment."""
    assert tag == Pod.of({"id": "a", "status": "RUNNING", "name": name, "env": environment}).tag


def test_a_pod_of_which_little_is_told_is_still_a_pod():
    """Unknown is None: no price, no date, no GPU is made up."""
    pod = Pod.of({"id": "a", "status": "RUNNING", "cost": "cheap", "createdAt": "soon", "gpu": None, "mounts": []})
    machine = pod.machine(Settings())
    assert (None, None, None, None) == (machine.hourly_rate, machine.created, machine.resource_id, machine.tag)
    assert ("a", "https://a-8000.proxy.runpod.net") == (machine.name, machine.address)


async def test_a_stopped_pod_costs_its_volume_twice(sandbox, connector, rent):
    """While it runs all storage counts, afterwards the volume alone: what the sandbox bills."""
    pod = rent(mounts=MOUNT)
    for stop in (False, True):
        if stop:
            await connector.stop_machine(pod.id)
        rate = (await connector.get_machine(pod.id)).hourly_rate
        assert Decimal(0) <= rate - sandbox.bills()[pod.id] < Decimal("0.000001")


async def test_stopping_and_starting_twice_is_fine(connector, rent):
    """RunPod answers 409 to the second one; there is nothing left to do."""
    pod = rent(mounts=MOUNT)
    for _ in range(2):
        await connector.stop_machine(pod.id)
    assert "EXITED" == pod.status
    for _ in range(2):
        await connector.start_machine(pod.id)
    assert not pod.is_stopped


async def test_a_start_without_room_is_a_lack_of_capacity(sandbox, connector, rent):
    """Its host has been given to somebody else."""
    pod = rent()
    await connector.stop_machine(pod.id)
    sandbox.catalogue.set_stock(RTX_4090, 0)
    with pytest.raises(CapacityError, match="no longer any instances"):
        await connector.start_machine(pod.id)


async def test_a_pod_without_its_gpus_is_stopped_again(sandbox, connector, rent):
    """It would train on the processor, and cost."""
    pod = rent(mounts=MOUNT)
    await connector.stop_machine(pod.id)
    sandbox.pods.starts_without_gpus = True
    with pytest.raises(CapacityError, match="came back without its GPUs, and was stopped again"):
        await connector.start_machine(pod.id)
    assert "EXITED" == pod.status


async def test_a_locked_pod_says_what_to_do(connector, rent):
    """It can be neither stopped nor ended."""
    pod = rent(env=TAGGED)
    pod.locked = True
    for refused in (connector.end_machine, connector.stop_machine, connector.end_rental):
        with pytest.raises(PlatformError, match="Pod is locked") as caught:
            await refused(pod.id)
        assert "unlock the pod on RunPod's page, then try again" == caught.value.remedy
    assert "RUNNING" == pod.status


async def test_a_pod_is_ended_once_and_for_all(sandbox, connector, rent, alive, eventually):
    """Again is fine; nothing is alive, nothing costs."""
    pod = rent()
    for _ in range(2):
        await connector.end_machine(pod.id)
    eventually(lambda: not alive(pod))
    assert {} == sandbox.bills()


async def test_everything_that_costs_is_listed(sandbox, connector, rent):
    """Pods whoever made them, and network volumes with their price; what is ended is what was named."""
    pod, other = rent(env=TAGGED), rent(name="somebody's")
    small = sandbox.volumes.add("data", 100, "US-KS-2")
    large = sandbox.volumes.add("more data", 2000, "US-KS-2")
    rentals = {rental.id: rental for rental in await connector.list_rentals()}
    assert {pod.id: "job", other.id: "job", small.id: "storage", large.id: "storage"} == {
        id: rental.kind for id, rental in rentals.items()
    }
    assert ("ps-pod-1", None, None) == tuple(rentals[each.id].tag for each in (pod, other, small))
    assert (Decimal("0.009590"), Decimal("0.164384")) == (rentals[small.id].hourly_rate, rentals[large.id].hourly_rate)
    assert "100 GB STANDARD US-KS-2" == rentals[small.id].status
    for id in (small.id, pod.id, "no-such-rental"):
        assert await connector.end_rental(id)
    assert {other.id, large.id} == {rental.id for rental in await connector.list_rentals()}


async def test_volumes_that_the_key_may_not_see_are_left_out(sandbox, connector, rent):
    """That is no failure; but when RunPod cannot be asked for them, the list would be a lie."""
    pod = rent()
    sandbox.account.forbid("GET", "network-volumes")
    assert [pod.id] == [rental.id for rental in await connector.list_rentals()]
    for code, kind in ((503, ConnectionFailed), (401, InvalidCredentials)):
        fault = sandbox.faults.add("status", "GET", "network-volumes", code=code, body="{}", times=None)
        with pytest.raises(kind):
            await connector.list_rentals()
        sandbox.faults.remove(fault)


async def test_every_page_of_pods_is_read(sandbox, connector, rent, api):
    """RunPod tells of more with `pagination.nextCursor`; it may also tell nothing of pages."""
    first, second = rent(), rent()
    pages = [
        {"pods": [first.show()], "pagination": {"hasNextPage": True, "nextCursor": "c2"}},
        {"pods": [second.show()], "pagination": {"hasNextPage": False, "nextCursor": None}},
    ]
    for page in pages:
        sandbox.faults.add("shape", "GET", "/v2/pods$", body=page)
    assert [first.id, second.id] == [machine.id for machine in await connector.list_machines()]
    assert ("cursor", "c2") in sandbox.requests[-1].query
    sandbox.faults.add("shape", "GET", "/v2/pods$", body={"pods": [first.show()]})
    assert [first.id] == [machine.id for machine in await connector.list_machines()]


# The key and the account.


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (401, InvalidCredentials, "the key is not known"),
        (403, InvalidCredentials, "the key is valid and lacks the permission for this"),
        (1010, ConnectionFailed, "the key was not looked at"),
    ],
)
async def test_a_refused_key_is_told_from_a_refused_machine(sandbox, connect, number, kind, remedy):
    """RunPod knows keys; the edge in front of it does not."""
    if number == 1010:
        sandbox.edge_error(1010, times=None)
    elif number == 403:
        sandbox.account.forbid("GET", "/v2/pods")
    with pytest.raises(kind) as caught:
        await (connect(api_key="rpa_wrong") if number == 401 else connect())
    assert caught.value.remedy.startswith(remedy) or remedy in caught.value.remedy


async def test_an_empty_403_is_none_of_runpods(sandbox, connect):
    """RunPod says what it refuses; its edge need not."""
    sandbox.faults.add("status", code=403, body="", headers={"content-type": "text/plain"}, times=None)
    with pytest.raises(ConnectionFailed):
        await connect()


async def test_a_key_is_needed():
    """Nobody is asked without one."""
    with pytest.raises(InvalidCredentials, match="api_key"):
        await RunpodConnector().connect({})


async def test_it_says_who_it_is(sandbox, connector):
    """The edge turns away programs that do not."""
    (agent,) = {request.headers["user-agent"] for request in sandbox.requests}
    assert f"peft-studio-runpod/{connector.version}" == agent


async def test_the_account_is_told_by_graphql(sandbox, connector, rent):
    """Balance and what everything costs in an hour; a key that GraphQL does not know is an error."""
    rent(disk=73)
    account = await connector.account()
    assert ("user_sandbox", Decimal("0.75")) == (account.id, account.hourly_spend)
    assert 9999 < account.balance <= 10_000
    sandbox.faults.add("shape", "POST", "/graphql", body={"data": {"myself": None}})
    with pytest.raises(PlatformError, match="no account belongs to the key"):
        await connector.account()


async def test_the_higher_of_bill_and_price_counts(sandbox, connector, rent):
    """Bills come late; RunPod's clock is ahead here, so that the bill is the higher one."""
    pod = rent(disk=73)
    sandbox.advance(3600)
    assert Decimal("0.75") <= await connector.get_job_cost(pod.id) < Decimal("0.752")
    sandbox.billing.lag = 1e9
    assert Decimal(0) <= await connector.get_job_cost(pod.id) < Decimal("0.1")
    await connector.end_machine(pod.id)
    with pytest.raises(JobNotFound):
        await connector.get_job_cost(pod.id)
    sandbox.billing.lag = 0
    assert Decimal("0.75") <= await connector.get_job_cost(pod.id) < Decimal("0.752")


async def test_of_several_limits_the_one_that_lasts_is_obeyed(sandbox, connector):
    """Nothing is left for this hour: nobody asks before its end, whatever the minute says."""
    limits = '"minute";r=0;t=12, "hour";r=0;t=1812, "day";r=49500;t=45012'
    sandbox.faults.add(
        "status", code=429, body='{"title": "Too Many Requests", "status": 429, "detail": "slow down"}',
        headers={"RateLimit": limits, "Retry-After": "12"},
    )  # fmt: skip
    with pytest.raises(PlatformError) as caught:
        await connector.list_machines()
    assert 1800 < caught.value.retry_after < 1813
    asked = len(sandbox.requests)
    with pytest.raises(PlatformError):
        await connector.list_machines()
    assert asked == len(sandbox.requests)
    assert 0 == connector.observed.rate_limit.remaining


# How a pod ends itself.


@pytest.mark.parametrize("step", [0, 1, 2], ids=["delete", "terminate", "graphql"])
async def test_each_step_of_the_teardown_ends_the_pod(sandbox, connector, rent, step):
    """With nothing but what RunPod gives the pod: its id and a key of its own."""
    pod, other = rent(), rent()
    steps = parse_steps(json.dumps(list(connector.teardown_steps())))
    fault = run(steps[step], {"RUNPOD_POD_ID": pod.id, "RUNPOD_API_KEY": pod.key})
    assert pod.is_deleted
    assert not other.is_deleted
    assert ("HTTP 200" if step == 2 else None) == fault


async def test_a_refusal_of_graphql_is_no_teardown(sandbox, connector, rent):
    """It says 200 to everything: whoever believed that would cost money for ever."""
    pod = rent()
    pod.locked = True
    steps = parse_steps(json.dumps(list(connector.teardown_steps())))
    said = try_all(steps, {"RUNPOD_POD_ID": pod.id, "RUNPOD_API_KEY": pod.key})
    assert 3 == said.count("HTTP ")
    assert not pod.is_deleted


async def test_a_pod_to_which_no_job_comes_ends_itself(sandbox, connector, eventually, alive):
    """The start command, the worker and the recipe as they are sent, in a pod that really runs them."""
    config = TrainingConfig(base_model="a/b", dataset_path="facts.jsonl", resource_id="RTX 4090")
    (offer,) = await connector.list_offers(config)
    launch = connector._launch("ps-lonely-1", config, offer)
    # Another line in the script, or else the sandbox would have a worker that pretends.
    impatient = {**launch.variables, "PEFT_STUDIO_WORKER_WAIT": "1"}
    machine = await connector.rent(offer, evolve(launch, script=f": really\n{launch.script}", variables=impatient))
    pod = sandbox.pods[machine.id]
    sandbox.advance(5)
    eventually(lambda: pod.is_deleted)
    eventually(lambda: not alive(pod))
    assert {} == sandbox.bills()
