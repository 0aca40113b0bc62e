"""What costs money: pods, stopped ones, network volumes; and what the bills say of it."""

from __future__ import annotations

from decimal import Decimal

import pytest


def volume(api, **changes) -> dict:
    """A new network volume."""
    body = {"name": "data", "size": 100, "dataCenter": "EU-RO-1", **changes}
    answer = api.post("/v2/network-volumes", json=body)
    assert 201 == answer.status_code, answer.text
    return answer.json()


def test_pods_bill_from_create_until_they_are_deleted(sandbox, api, rent):
    """GPU and disk; a stopped one bills its persistent storage at twice the price."""
    pod = rent(mounts={"persistent": {"size": 73, "path": "/w"}})
    assert Decimal("0.74") + Decimal("0.10") * 93 / 730 == sandbox.bills()[pod.id]
    api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"})
    assert {pod.id: Decimal("0.02")} == sandbox.bills()
    api.delete(f"/v2/pods/{pod.id}")
    assert {} == sandbox.bills()


def test_a_volume_bills_until_it_is_deleted_whatever_becomes_of_its_pod(sandbox, api, rent):
    """It is detached, and cannot be deleted before."""
    data = volume(api)
    pod = rent(mounts={"network": [{"volumeId": data["id"], "path": "/data"}]})
    assert "EU-RO-1" == pod.place.data_center
    assert 400 == api.delete(f"/v2/network-volumes/{data['id']}").status_code
    api.delete(f"/v2/pods/{pod.id}")
    assert {data["id"]: Decimal(7) / 730} == sandbox.bills()
    assert 204 == api.delete(f"/v2/network-volumes/{data['id']}").status_code
    assert ({}, []) == (sandbox.bills(), api.get("/v2/network-volumes").json()["networkVolumes"])


def test_a_volume_keeps_its_files_from_one_pod_to_the_next(api, rent, eventually):
    """Under whatever path it is mounted."""
    data = volume(api)
    writer = rent("echo kept > /data/file; echo done", mounts={"network": [{"volumeId": data["id"], "path": "/data"}]})
    eventually(lambda: "done" in writer.log.container_lines)
    api.delete(f"/v2/pods/{writer.id}")
    reader = rent("cat /other/file", mounts={"network": [{"volumeId": data["id"], "path": "/other"}]})
    eventually(lambda: reader.log.container_lines == ["kept"])


def test_a_volume_goes_with_the_secure_cloud_only(api, wanted):
    """And must exist."""
    data = volume(api)
    mounts = {"network": [{"volumeId": data["id"], "path": "/data"}]}
    assert 400 == api.post("/v2/pods", json=wanted(cloud="COMMUNITY", mounts=mounts)).status_code
    mounts = {"network": [{"volumeId": "none", "path": "/data"}]}
    assert 400 == api.post("/v2/pods", json=wanted(mounts=mounts)).status_code


@pytest.mark.parametrize(
    ("changes", "status"), [({"size": 50}, 400), ({"size": 200}, 200), ({}, 422), ({"type": "STANDARD"}, 422)], ids=str
)
def test_a_volume_only_grows(api, changes, status):
    """PATCH."""
    assert status == api.patch(f"/v2/network-volumes/{volume(api)['id']}", json=changes).status_code


@pytest.mark.parametrize("changes", [{"dataCenter": "CA-MTL-1"}, {"dataCenter": "XX-1"}, {"type": "HIGH_PERFORMANCE"}])
def test_not_every_data_center_has_every_volume(api, changes):
    """400."""
    body = {"name": "data", "size": 10, "dataCenter": "EU-RO-1", **changes}
    assert 400 == api.post("/v2/network-volumes", json=body).status_code


def test_the_bill_of_a_pod_adds_up(sandbox, api, rent):
    """GPU and disk in buckets; the totals are their sums, and outlive the pod."""
    pod, other = rent(disk=73), rent()
    sandbox.advance(2 * 3600)
    api.delete(f"/v2/pods/{pod.id}")
    sandbox.advance(3600)
    bill = api.get("/v2/billing/pods", params={"podId": pod.id, "bucketSize": "month", "lastN": 2}).json()
    hours = (2 * 3600 + 10) / 3600
    totals = bill["metadata"]["totals"]
    assert pytest.approx(0.74 * hours, abs=1e-5) == totals["gpuAmount"]
    assert pytest.approx(0.01 * hours, abs=1e-5) == totals["diskAmount"]
    assert pytest.approx(totals["gpuAmount"] + totals["diskAmount"], abs=1e-5) == totals["totalAmount"]
    assert (1, {pod.id}) == (bill["metadata"]["uniquePodCount"], {record["podId"] for record in bill["records"]})
    assert {pod.id, other.id} == {record["podId"] for record in api.get("/v2/billing/pods").json()["records"]}


def test_bills_may_be_late(sandbox, api, rent):
    """What is younger than the lag is not on them yet."""
    rent()
    sandbox.billing.lag = 3600
    assert [] == api.get("/v2/billing/pods").json()["records"]


def test_the_window_of_a_bill_is_named_in_one_way(api):
    """lastN, or start and end."""
    assert 400 == api.get("/v2/billing/pods?lastN=1&startTime=2026-06-01T00:00:00Z").status_code
    assert 422 == api.get("/v2/billing/pods?lastN=0").status_code
    query = api.get("/v2/billing/pods?startTime=2026-06-03T05:00:00Z&endTime=2026-06-05T00:00:01Z").json()["metadata"]
    assert ("2026-06-03T00:00:00Z", "2026-06-06T00:00:00Z") == (query["query"]["startTime"], query["query"]["endTime"])
