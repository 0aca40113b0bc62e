"""The catalogue: what is on offer, with rows that nobody can rent."""

from __future__ import annotations

import pytest

GPU = "NVIDIA GeForce RTX 4090"


def rows(api, query="") -> dict:
    """By id."""
    answer = api.get(f"/v2/catalog/gpus{query}")
    assert 200 == answer.status_code, answer.text
    return {row["id"]: row for row in answer.json()["gpus"]}


def test_the_list_has_a_sentinel_and_placeholder_prices(api):
    """As the live one: a row `unknown`, and prices of tiers where the GPU is not offered."""
    found = rows(api)
    assert 0 == found["unknown"]["memory"]
    cheap = found["NVIDIA GeForce RTX 3070"]
    assert (False, True, {"secure": 0.5, "community": 0.13}) == (cheap["secure"], cheap["community"], cheap["price"])
    assert "availability" not in found[GPU]


def test_availability_is_of_one_cloud_and_count(sandbox, api):
    """Stock in each data centre, and nothing but NONE where there is none."""
    sandbox.catalogue.set_stock(GPU, 0)
    sandbox.catalogue.set_stock(GPU, 3, clouds=["COMMUNITY"], data_center="EU-RO-1")
    query = "?include=AVAILABILITY&product=POD,CLUSTER"
    secure, community = rows(api, query)[GPU], rows(api, f"{query}&cloud=COMMUNITY")[GPU]
    assert "NONE" == secure["availability"]
    assert not {"dataCenters", "cudaVersions"} & set(secure)
    assert ("MEDIUM", [{"id": "EU-RO-1", "name": "EU Romania 1", "availability": "MEDIUM"}]) == (
        community["availability"],
        community["dataCenters"],
    )
    assert "LOW" == rows(api, f"{query}&cloud=COMMUNITY&count=2")[GPU]["availability"]
    assert "NONE" == rows(api, f"{query}&cloud=COMMUNITY&count=4")[GPU]["availability"]


def test_countries_and_versions_narrow_the_list(api):
    """A type without a place in the country is not listed; one that is asked for is shown as NONE."""
    query = "?include=AVAILABILITY&product=POD"
    assert ["US-KS-2"] == [center["id"] for center in rows(api, f"{query}&countryCodes=US")[GPU]["dataCenters"]]
    assert {} == rows(api, f"{query}&countryCodes=FR")
    one = api.get(f"/v2/catalog/gpus/NVIDIA%20GeForce%20RTX%204090{query}&countryCodes=FR").json()
    assert "NONE" == one["availability"]
    assert [{"version": "12.8", "available": True}] == rows(api, f"{query}&minCudaVersion=12.5")[GPU]["cudaVersions"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("include=AVAILABILITY", 400),
        ("product=POD", 400),
        ("cloud=SECURE", 400),
        ("include=AVAILABILITY&product=POD&cudaVersions=12.8&minCudaVersion=12", 400),
        ("include=AVAILABILITY&product=PODS", 422),
        ("include=AVAILABILITY&product=POD&count=0", 422),
        ("include=AVAILABILITY&product=POD&countryCodes=de", 422),
        ("include=AVAILABILITY&product=POD&product=CLUSTER", 422),
        ("anything=else", 200),
    ],
)
def test_queries_have_rules(api, query, status):
    """What belongs together, what is no value, and what came twice."""
    answer = api.get(f"/v2/catalog/gpus?{query}")
    assert status == answer.status_code
    if "product=CLUSTER" in query:
        wanted = "parameter 'product' is not exploded, but is specified multiple times"
        assert [wanted] == answer.json()["errors"]


def test_an_unknown_gpu_is_not_found(api):
    """404."""
    assert 404 == api.get("/v2/catalog/gpus/NVIDIA%20Nothing").status_code


def test_data_centers_can_be_filtered(api):
    """By region and by kind of volume; with their GPUs when asked."""

    def ids(query: str) -> list[str]:
        return [center["id"] for center in api.get(f"/v2/catalog/datacenters?{query}").json()["dataCenters"]]

    assert ["EU-RO-1"] == ids("regions=EUROPE")
    assert ["US-KS-2"] == ids("networkVolumeTypes=STANDARD,HIGH_PERFORMANCE")
    listed = api.get("/v2/catalog/datacenters?include=GPU_AVAILABILITY").json()["dataCenters"]
    assert [True, True, False] == ["gpuAvailability" in center for center in listed]
