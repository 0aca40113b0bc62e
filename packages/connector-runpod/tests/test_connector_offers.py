"""What is on offer, what it costs, and what is tried first."""

from __future__ import annotations

from decimal import Decimal

import pytest

from peft_studio import CapacityError, InvalidConfig, TrainingConfig
from peft_studio_runpod.catalogue import gpus_of

A5000, RTX_4090, RTX_3090 = "NVIDIA RTX A5000", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090"
A100, H100 = "NVIDIA A100 80GB PCIe", "NVIDIA H100 80GB HBM3"


def job(resource_id: str | None = None) -> TrainingConfig:
    """A config of which only the resource matters."""
    return TrainingConfig(base_model="a/b", dataset_path="facts.jsonl", resource_id=resource_id)


async def offered(connector, resource_id: str | None = None) -> list[str]:
    """The ids of the offers."""
    return [offer.resource_id for offer in await connector.list_offers(job(resource_id))]


async def test_resources_are_what_can_be_had(connector):
    """Both clouds, cheapest first; neither the sentinel nor a cloud that has a placeholder for a price."""
    resources = {each.id: each for each in await connector.list_resources()}
    assert "NVIDIA GeForce RTX 3070@COMMUNITY" == next(iter(resources))
    assert {"NVIDIA GeForce RTX 3070@SECURE", f"{H100}@COMMUNITY", "AMD Instinct MI300X OAM@COMMUNITY"}.isdisjoint(
        resources
    )
    assert not [id for id in resources if id.startswith("unknown")]
    h100 = resources[f"{H100}@SECURE"]
    assert ("H100 SXM", 80, 1, True) == (h100.gpu_type, h100.vram_gb, h100.gpu_count, h100.available)
    assert "US-KS-2, EU-RO-1" == h100.region


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "unknown"},
        {"id": None},
        {"memory": 0},
        {"memory": "24"},
        {"secure": False},
        {"secure": "yes"},
        {"price": {"secure": 0, "community": 0.5}},
        {"price": {"secure": "0.74"}},
        {"price": None},
    ],
    ids=str,
)
def test_rows_that_offer_nothing_are_dropped(changes):
    """The sentinel, placeholder prices, and what is not as documented."""
    row = {"id": RTX_4090, "name": "RTX 4090", "memory": 24, "secure": True, "price": {"secure": 0.74}}
    assert [RTX_4090] == [gpu.id for gpu in gpus_of([row])]
    assert [] == list(gpus_of([{**row, **changes}]))


async def test_what_is_sold_out_is_not_available(sandbox, connect):
    """For as many GPUs as the user wants, where the user wants them."""
    sandbox.catalogue.set_stock(A100, 0, clouds=["SECURE"])
    sandbox.catalogue.set_stock(H100, 1)
    connector = await connect(gpu_count="2", data_centers="EU-RO-1")
    available = {each.id: each.available for each in await connector.list_resources()}
    assert {f"{A100}@SECURE": False, f"{A100}@COMMUNITY": True, f"{H100}@SECURE": False}.items() <= available.items()
    sandbox.catalogue.set_stock(A100, 0, clouds=["COMMUNITY"], data_center="EU-RO-1")
    available = {each.id: each.available for each in await connector.list_resources()}
    assert available[f"{A100}@COMMUNITY"] is False


async def test_a_driver_must_know_the_cuda_of_the_image(connect):
    """No host of the sandbox has CUDA 13."""
    resources = await (await connect(image="me/torch:cu130")).list_resources()
    assert not [each.id for each in resources if each.available and each.gpu_type != "MI300X"]


async def test_a_price_is_gpus_and_storage(connect):
    """Two at 0.74 USD, 100 GB at 0.10 USD a month of 730 hours, rounded up; exact, not a float."""
    connector = await connect(gpu_count="2", disk_gb="60", volume_gb="40")
    price = await connector.get_pricing(f"{RTX_4090}@SECURE")
    assert Decimal("1.48") + Decimal("0.013699") == price.hourly_rate
    assert (Decimal("0.000136987"), 1) == (price.storage_gb_hourly_rate, price.billing_increment)
    assert ("USD", "GET /v2/catalog/gpus, with 60 GB of disk and 40 GB of volume") == (price.currency, price.source)


async def test_a_price_is_never_too_low(connect):
    """Of several resources, or one in several clouds, any may be rented: the dearest is told."""
    connector = await connect(clouds="SECURE,COMMUNITY")
    for name in ("RTX 4090", "RTX A5000, RTX 4090"):
        assert f"{RTX_4090}@SECURE" == (await connector.get_pricing(name)).resource_id


@pytest.mark.parametrize("name", [f"{RTX_4090}@SECURE", RTX_4090, "RTX 4090", "rtx 4090", "RTX 4090@secure"])
async def test_a_resource_has_several_names(connector, name):
    """The id, with or without a cloud, and what RunPod calls it, however it is written."""
    assert [f"{RTX_4090}@SECURE"] == await offered(connector, name)
    assert f"{RTX_4090}@SECURE" == (await connector.get_pricing(name)).resource_id


async def test_a_resource_that_does_not_exist_is_refused(connector):
    """With what may have been meant."""
    with pytest.raises(InvalidConfig) as caught:
        await connector.list_offers(job("RTX 4091"))
    (problem,) = caught.value.problems
    assert ("resource_id", "resource_id: RunPod has no GPU named 'RTX 4091'") == (problem.field, problem.message)
    assert "RTX 4090" in problem.suggestion


async def test_a_resource_of_another_cloud_says_where_it_is(connector):
    """The user has allowed the secure cloud alone; naming the other one is allowing it."""
    with pytest.raises(InvalidConfig, match="no RTX 3070 in SECURE, but in COMMUNITY"):
        await connector.list_offers(job("RTX 3070"))
    assert ["NVIDIA GeForce RTX 3070@COMMUNITY"] == await offered(connector, "RTX 3070@COMMUNITY")


async def test_the_cheapest_that_fits_comes_first(connect):
    """In the secure cloud unless told otherwise; memory enough, made for the image."""
    secure = [f"{gpu}@SECURE" for gpu in (A5000, RTX_3090, RTX_4090, A100, H100)]
    assert secure == await offered(await connect())
    both = await offered(await connect(clouds="SECURE,COMMUNITY"))
    assert [f"{A5000}@COMMUNITY", f"{RTX_3090}@COMMUNITY", f"{A5000}@SECURE", f"{RTX_4090}@COMMUNITY"] == both[:4]
    assert [f"{A100}@SECURE", f"{H100}@SECURE"] == await offered(await connect(min_vram_gb="48"))
    assert ["AMD Instinct MI300X OAM@SECURE"] == await offered(await connect(image="rocm/pytorch:rocm7.0"))


async def test_a_submission_tries_eight_at_most(connect):
    """Of both clouds together there are nine that fit."""
    assert 8 == len(await offered(await connect(clouds="SECURE,COMMUNITY", min_vram_gb="8")))


async def test_the_users_order_counts(sandbox, connector):
    """Several resources, by commas; what is sold out goes last, for the catalogue may be wrong."""
    wanted = f"H100 SXM, {A100}, RTX 4090"
    ids = [f"{H100}@SECURE", f"{A100}@SECURE", f"{RTX_4090}@SECURE"]
    assert ids == await offered(connector, wanted)
    sandbox.catalogue.set_stock(H100, 0)
    assert [*ids[1:], ids[0]] == await offered(connector, wanted)


async def test_gpu_types_are_the_only_ones(connect):
    """By id or name; one that does not exist is refused by the setting's name."""
    connector = await connect(gpu_types=f"RTX 4090,{A100}")
    assert [f"{RTX_4090}@SECURE", f"{A100}@SECURE"] == await offered(connector)
    connector = await connect(gpu_types="RTX 5")
    with pytest.raises(InvalidConfig, match="gpu_types: RunPod has no GPU named 'RTX 5'"):
        await connector.list_offers(job())


async def test_what_is_too_expensive_is_not_offered(connect):
    """Storage counts: 0.27 USD is no match for a limit of 0.27. A limit below everything says so of each."""
    assert [f"{A5000}@SECURE"] == await offered(await connect(max_hourly_rate="0.28"))
    connector = await connect(max_hourly_rate="0.27")
    with pytest.raises(CapacityError) as caught:
        await connector.list_offers(job())
    assert "RTX A5000, secure cloud: 0.28 USD an hour is more than max_hourly_rate 0.27" in caught.value.why
    assert "max_hourly_rate" in caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "resource_id", "why"),
    [
        (
            {},
            "MI300X",
            "MI300X, secure cloud: the image runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404 needs GPUs of NVIDIA",
        ),
        ({"gpu_count": "9"}, "RTX 4090", "RTX 4090, secure cloud: a pod has at most 8 of them, not 9"),
        ({"min_vram_gb": "500"}, None, "no GPU of NVIDIA in SECURE has 500 GB and is among gpu_types"),
    ],
)
async def test_why_nothing_is_left(connect, settings, resource_id, why):
    """Each candidate has its reason."""
    connector = await connect(**settings)
    with pytest.raises(CapacityError) as caught:
        await connector.list_offers(job(resource_id))
    assert why == caught.value.why


async def test_an_offer_reads_well(connect):
    """Number, cloud, places and price."""
    connector = await connect(gpu_count="2", data_centers="EU-RO-1,US-KS-2")
    (offer,) = await connector.list_offers(job("RTX 4090"))
    assert "2 × RTX 4090, secure cloud, EU-RO-1 or US-KS-2, 1.49 USD/h" == offer.words
    assert Decimal("1.489590") == offer.hourly_rate
