"""Pods over REST: what may be asked for, what they tell, and which steps are allowed."""

from __future__ import annotations

import pytest

from peft_studio_runpod.sandbox.problems import NO_CAPACITY
from peft_studio_runpod.sandbox.specification import answer_complaints

GPU = "NVIDIA GeForce RTX 4090"
COMMUNITY_GPU = "NVIDIA GeForce RTX 3070"


def test_a_pod_goes_through_its_states_by_the_clock(sandbox, api, wanted):
    """PROVISIONING, STARTING, RUNNING; each says what may be done."""
    pod = api.post("/v2/pods", json=wanted()).json()
    seen = []
    for seconds in (0, 2, 3):
        sandbox.advance(seconds)
        now = api.get(f"/v2/pods/{pod['id']}").json()
        seen.append((now["status"], now["actions"], now["runtime"] is not None, now["startedAt"] is not None))
    assert [
        ("PROVISIONING", ["stop", "terminate"], False, False),
        ("STARTING", ["stop", "terminate"], False, False),
        ("RUNNING", ["stop", "restart", "terminate"], True, True),
    ] == seen


def test_every_answer_is_as_the_specification_says(sandbox, api, wanted):
    """Each answer of a pod's life, the lists and the bills agree with RunPod's own schemas."""
    full = wanted(
        ports=["8000/http", "22/tcp"], env={"A": "b"}, mounts={"persistent": {"size": 20, "path": "/workspace"}}
    )
    created = api.post("/v2/pods", json=full)
    one = f"/v2/pods/{created.json()['id']}"
    answers = [("POST", "/v2/pods", created)]
    answers += [("GET", "/v2/pods/{id}", api.get(one))]
    sandbox.advance(5)
    answers += [
        ("GET", "/v2/pods/{id}", api.get(one)),
        ("GET", "/v2/pods", api.get("/v2/pods")),
        ("PATCH", "/v2/pods/{id}", api.patch(one, json={"name": "other"})),
        ("POST", "/v2/pods/{id}/action", api.post(f"{one}/action", json={"action": "stop"})),
        ("GET", "/v2/catalog/gpus", api.get("/v2/catalog/gpus?include=AVAILABILITY&product=POD")),
        ("GET", "/v2/catalog/datacenters", api.get("/v2/catalog/datacenters?include=GPU_AVAILABILITY")),
        ("GET", "/v2/billing/pods", api.get("/v2/billing/pods")),
        ("GET", "/v2/account/ssh-keys", api.get("/v2/account/ssh-keys")),
        ("GET", "/v2/network-volumes", api.get("/v2/network-volumes")),
    ]
    for method, path, answer in answers:
        assert [] == answer_complaints(method, path, answer.status_code, answer.json()), (method, path)


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"bogus": 1}, ["$: additional properties 'bogus' not allowed"]),
        ({"name": None}, ["$: missing property 'name'"]),
        ({"image": None}, ["$: missing property 'image'"]),
        ({"disk": "20"}, ["$.disk: got string, want integer"]),
        ({"env": {"A": 1}}, ["$.env.A: got integer, want string"]),
        ({"gpu": {"id": GPU, "count": 0}}, ["$.gpu.count: minimum: got 0, want 1"]),
        ({"gpu": {"id": GPU, "count": 1, "vram": 24}}, ["$.gpu: additional properties 'vram' not allowed"]),
        ({"cloud": "PRIVATE"}, ["$.cloud: value must be one of 'SECURE', 'COMMUNITY'"]),
        (
            {"mounts": {"persistent": {"size": 5, "path": "/w"}}},
            ["$.mounts.persistent.size: minimum: got 5, want 10"],
        ),
    ],
    ids=str,
)
def test_a_body_against_the_schema_is_refused_with_every_fault(api, wanted, changes, errors):
    """422, problem+json, one sentence for each fault; nothing is rented."""
    answer = api.post("/v2/pods", json=wanted(**changes))
    assert "application/problem+json" == answer.headers["content-type"]
    assert {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "Request validation failed.",
        "errors": errors,
    } == answer.json()
    assert [] == api.get("/v2/pods").json()["pods"]


@pytest.mark.parametrize(
    ("content", "status"), [(b'"text"', 422), (b"{", 400), (b"[" + b" " * 110_000 + b"]", 413)], ids=str
)
def test_a_body_that_is_no_object_is_refused(api, content, status):
    """JSON of another kind, no JSON at all, and too much of it."""
    answer = api.post("/v2/pods", content=content[:120_000], headers={"content-type": "application/json"})
    assert status == answer.status_code


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"gpu": {"id": GPU}}, 400, NO_CAPACITY),
        ({"gpu": {"id": "NVIDIA Nothing", "count": 1}}, 422, "Unknown GPU type: NVIDIA Nothing"),
        ({"gpu": {"id": "unknown", "count": 1}}, 422, "Unknown GPU type: unknown"),
        ({"gpu": {"id": COMMUNITY_GPU, "count": 1}}, 400, NO_CAPACITY),
        ({"gpu": {"id": GPU, "count": 99}}, 400, NO_CAPACITY),
        ({"gpu": {"id": GPU, "count": 1, "allowedCudaVersions": ["11.1"]}}, 400, NO_CAPACITY),
        ({"gpu": {"id": GPU, "count": 1, "minCudaVersion": "12.11"}}, 400, NO_CAPACITY),
        ({"dataCenterIds": ["CA-MTL-1"]}, 400, NO_CAPACITY),
        ({"gpu": None}, 400, "exactly one of gpu or cpu must be set"),
        ({"disk": None}, 400, "container disk size is required"),
        ({"ports": ["22"]}, 400, "invalid port: 22"),
        ({"env": {f"A{number}": "" for number in range(51)}}, 400, "at most 50 environment variables are allowed"),
        (
            {"mounts": {"persistent": {"size": 20, "path": "/a"}, "network": [{"volumeId": "v", "path": "/b"}]}},
            400,
            "mounts.persistent and mounts.network are mutually exclusive",
        ),
        ({"templateId": "30zmvf89kd"}, 404, "template not found"),
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_refused(api, wanted, changes, status, detail):
    """Beyond the schema: 400, 404 and 422 in RunPod's words where they are known."""
    answer = api.post("/v2/pods", json=wanted(**changes))
    assert (status, detail) == (answer.status_code, answer.json()["detail"])
    assert [] == api.get("/v2/pods").json()["pods"]


def test_stock_can_vanish_between_catalogue_and_create(sandbox, api, wanted):
    """On offer, and not to be had; another GPU type is."""
    sandbox.catalogue.vanished.add(GPU)
    rows = api.get("/v2/catalog/gpus?include=AVAILABILITY&product=POD").json()["gpus"]
    refused = api.post("/v2/pods", json=wanted())
    assert "HIGH" == next(row["availability"] for row in rows if row["id"] == GPU)
    assert (400, NO_CAPACITY) == (refused.status_code, refused.json()["detail"])
    assert 201 == api.post("/v2/pods", json=wanted(gpu={"id": "NVIDIA RTX A5000", "count": 1})).status_code


def test_pods_take_the_stock_and_give_it_back(sandbox, api, wanted):
    """The last GPU is rented once; stopping or deleting the pod frees it."""
    sandbox.catalogue.set_stock(GPU, 0)
    sandbox.catalogue.set_stock(GPU, 1, clouds=["SECURE"], data_center="EU-RO-1")
    first = api.post("/v2/pods", json=wanted()).json()
    assert "EU-RO-1" == first["dataCenterId"]
    assert 400 == api.post("/v2/pods", json=wanted()).status_code
    api.post(f"/v2/pods/{first['id']}/action", json={"action": "stop"})
    second = api.post("/v2/pods", json=wanted()).json()
    refused = api.post(f"/v2/pods/{first['id']}/action", json={"action": "start"})
    assert (400, NO_CAPACITY) == (refused.status_code, refused.json()["detail"])
    assert "EXITED" == api.get(f"/v2/pods/{first['id']}").json()["status"]
    api.delete(f"/v2/pods/{second['id']}")
    assert 200 == api.post(f"/v2/pods/{first['id']}/action", json={"action": "start"}).status_code


def test_without_credit_nothing_is_rented(sandbox, api, wanted, rent):
    """402; and what ran is stopped when the balance is used up."""
    pod = rent()
    sandbox.run_out_of_credit()
    assert "EXITED" == pod.status
    assert 402 == api.post("/v2/pods", json=wanted()).status_code


def test_a_closed_pool_is_forbidden(sandbox, api, wanted):
    """403 on create can mean this GPU alone."""
    sandbox.catalogue.closed.add(GPU)
    assert 403 == api.post("/v2/pods", json=wanted()).status_code
    assert 201 == api.post("/v2/pods", json=wanted(gpu={"id": "NVIDIA RTX A5000", "count": 1})).status_code


def test_actions_that_the_state_does_not_allow_conflict(sandbox, api, rent):
    """409, and the pod stays as it was; terminate is 204 without a body."""
    pod = rent()
    seen = {}
    for state, prepare in (("RUNNING", None), ("EXITED", "stop")):
        if prepare:
            api.post(f"/v2/pods/{pod.id}/action", json={"action": prepare})
        wrong = "start" if state == "RUNNING" else "restart"
        seen[pod.status] = api.post(f"/v2/pods/{pod.id}/action", json={"action": wrong}).status_code
    assert {"RUNNING": 409, "EXITED": 409} == seen
    ended = api.post(f"/v2/pods/{pod.id}/action", json={"action": "terminate"})
    assert (204, b"") == (ended.status_code, ended.content)
    assert 404 == api.get(f"/v2/pods/{pod.id}").status_code


def test_a_stopped_pod_costs_nothing_and_may_come_back_without_gpus(sandbox, api, rent):
    """`cost` is 0 when EXITED; after the start `gpu.count` may be 0."""
    pod = rent()
    stopped = api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"}).json()
    assert ("EXITED", 0, None) == (stopped["status"], stopped["cost"], stopped["runtime"])
    sandbox.pods.starts_without_gpus = True
    started = api.post(f"/v2/pods/{pod.id}/action", json={"action": "start"}).json()
    assert (0, 0) == (started["gpu"]["count"], started["cost"])


def test_a_pod_that_its_host_gave_up_can_be_started_or_deleted(sandbox, api, rent, eventually, alive):
    """ERROR: nothing runs, it bills on, and it holds its GPUs."""
    sandbox.catalogue.set_stock(GPU, 1)
    pod = rent()
    sandbox.pods.fail_pod(pod)
    eventually(lambda: not alive(pod))
    shown = api.get(f"/v2/pods/{pod.id}").json()
    assert ("ERROR", ["start", "terminate"], 0.74) == (shown["status"], shown["actions"], shown["cost"])
    assert 409 == api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"}).status_code
    assert "STARTING" == api.post(f"/v2/pods/{pod.id}/action", json={"action": "start"}).json()["status"]
    api.delete(f"/v2/pods/{pod.id}")
    assert 1 == sandbox.catalogue.free(GPU, "SECURE", "US-KS-2")


def test_a_locked_pod_cannot_be_stopped_or_deleted(api, rent):
    """400 `Pod is locked`, although its actions still list them."""
    pod = rent()
    api.patch(f"/v2/pods/{pod.id}", json={"locked": True})
    answers = [api.post(f"/v2/pods/{pod.id}/action", json={"action": action}) for action in ("stop", "restart")]
    answers.append(api.delete(f"/v2/pods/{pod.id}"))
    assert [(400, "Pod is locked")] * 3 == [(answer.status_code, answer.json()["detail"]) for answer in answers]
    assert "stop" in api.get(f"/v2/pods/{pod.id}").json()["actions"]
    api.patch(f"/v2/pods/{pod.id}", json={"locked": False})
    assert 204 == api.delete(f"/v2/pods/{pod.id}").status_code


def test_a_deleted_pod_is_gone(api, rent):
    """404 from then on, in no list, and deleting it again is 404, too."""
    pod = rent()
    assert 204 == api.delete(f"/v2/pods/{pod.id}").status_code
    assert [404, 404, 404] == [
        api.get(f"/v2/pods/{pod.id}").status_code,
        api.delete(f"/v2/pods/{pod.id}").status_code,
        api.get(f"/v2/pods/{pod.id}/logs").status_code,
    ]
    assert [] == api.get("/v2/pods").json()["pods"]


def test_two_pods_of_one_name_are_two_pods(api, wanted):
    """Names are not unique: a create that is repeated is a second rental."""
    ids = {api.post("/v2/pods", json=wanted(name="ps-job")).json()["id"] for _ in range(2)}
    assert ids == {pod["id"] for pod in api.get("/v2/pods").json()["pods"] if pod["name"] == "ps-job"}
    assert 2 == len(ids)


def test_the_list_comes_in_pages_when_asked(api, wanted):
    """`limit` and `cursor`; without them everything comes at once."""
    for _ in range(3):
        api.post("/v2/pods", json=wanted())
    first = api.get("/v2/pods?limit=2").json()
    rest = api.get("/v2/pods", params={"limit": 2, "cursor": first["pagination"]["nextCursor"]}).json()
    assert ([2, 1], [True, False]) == (
        [len(page["pods"]) for page in (first, rest)],
        [page["pagination"]["hasNextPage"] for page in (first, rest)],
    )


def test_the_lost_answer_of_a_create_leaves_a_pod(sandbox, api, wanted):
    """The connection is cut; the pod is there, by the name that was sent."""
    import httpx2

    sandbox.lose_answer_of_create()
    with pytest.raises(httpx2.TransportError):
        api.post("/v2/pods", json=wanted(name="ps-lost"))
    assert ["ps-lost"] == [pod["name"] for pod in api.get("/v2/pods").json()["pods"]]


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"mounts": {"network": []}}, "mounts cannot be cleared"),
        ({"mounts": {"network": [{"volumeId": "v", "path": "/b"}]}}, "the kind of a mount is fixed at create"),
    ],
    ids=str,
)
def test_a_patch_cannot_change_the_kind_of_a_mount(api, rent, changes, detail):
    """400."""
    pod = rent(mounts={"persistent": {"size": 20, "path": "/workspace"}})
    answer = api.patch(f"/v2/pods/{pod.id}", json=changes)
    assert (400, detail) == (answer.status_code, answer.json()["detail"])
