"""Inference Endpoints: made once, woken by a question, told by what they cost, and gone when they are stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest

from peft_studio import (
    ArtifactNotFound,
    CapacityError,
    ConnectionFailed,
    IncompleteList,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    PlatformError,
    UnsupportedCapability,
)
from peft_studio_huggingface.sandbox.served import INSTANCES, Instance

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
#: Half a second, and half a minute.
HARDLY, LONG = "0.008", "0.5"


def add_adapter(sandbox, id: str = "me/tiny-lora", **settings: object) -> str:
    """A private adapter; its commit."""
    config = {"peft_type": "LORA", "r": 12, "base_model_name_or_path": "acme/tiny", **settings}
    files = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": bytes(10)}
    return sandbox.hub.add(id, files, private=True).head.id


@pytest.fixture
def adapter(sandbox) -> str:
    """What most tests serve; its commit."""
    return add_adapter(sandbox)


def only(sandbox):
    """The one endpoint that there is."""
    (found,) = sandbox.serving.endpoints.values()
    return found


async def test_an_adapter_is_served_by_vllm_on_its_base(sandbox, connector, adapter):
    """Its repository, which may be private, is a folder there; no token of anybody leaves; it scales to zero."""
    id = await connector.deploy_model("me/tiny-lora")
    asked = only(sandbox).wanted
    assert asked["model"] == {
        "repository": "me/tiny-lora",
        "revision": adapter,
        "framework": "pytorch",
        "task": "text-generation",
        "image": {"custom": {"url": "vllm/vllm-openai:v0.23.0", "port": 8000, "healthRoute": "/health"}},
        "command": [
            "vllm", "serve", "acme/tiny", "--enable-lora", "--max-lora-rank", "16",
            "--lora-modules", "me/tiny-lora=/repository", "--host", "0.0.0.0", "--port", "8000",
        ],
    }  # fmt: skip
    assert {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15} == asked["compute"]["scaling"]
    assert ("nvidia-l4", "x1", "authenticated") == (
        asked["compute"]["instanceType"], asked["compute"]["instanceSize"], asked["type"]
    )  # fmt: skip
    assert id.startswith("me/ps-tiny-lora-")
    assert len(only(sandbox).name) <= 32


async def test_a_gated_base_gets_the_token_for_jobs(sandbox, connect, adapter):
    """As a secret, where the platform shows names alone."""
    await (await connect(job_token="hf_for_jobs")).deploy_model("me/tiny-lora")
    assert {"HF_TOKEN": "hf_for_jobs"} == only(sandbox).wanted["model"]["secrets"]


async def test_a_model_is_served_by_the_default_engine(sandbox, connector):
    """By commit; what it answers as a list comes in an object."""
    sandbox.hub.add("acme/tiny", {"README.md": b"---\npipeline_tag: text-classification\n---\n"})
    id = await connector.deploy_model("acme/tiny@main")
    asked = only(sandbox).wanted["model"]
    assert ({"huggingface": {}}, "text-classification") == (asked["image"], asked["task"])
    assert sandbox.hub["acme/tiny"].head.id == asked["revision"]
    answer = await connector.invoke_endpoint(id, {"inputs": "Hello"})
    assert [{"generated_text": "The sandbox has no model."}] == answer["outputs"]


async def test_the_same_again_is_the_same_endpoint(sandbox, connector, adapter):
    """Whoever wishes something else gets another."""
    first = await connector.deploy_model("me/tiny-lora")
    assert first == await connector.deploy_model("me/tiny-lora")
    other = await connector.deploy_model("me/tiny-lora", instance="nvidia-t4-x1", scale_to_zero_minutes=60)
    assert {first, other} == set(sandbox.serving.endpoints)
    sandbox.hub.put("me/tiny-lora", {"adapter_model.safetensors": b"better"})
    assert await connector.deploy_model("me/tiny-lora") not in (first, other)


async def test_a_lost_answer_is_found_again(sandbox, connector, adapter):
    """It raises, as nobody knows; the same again makes no second endpoint."""
    sandbox.faults.add("reset_after", "POST", "/v2/endpoint/")
    with pytest.raises(ConnectionFailed) as caught:
        await connector.deploy_model("me/tiny-lora")
    assert "deploy the same again" in caught.value.remedy
    made = only(sandbox).id
    assert made == await connector.deploy_model("me/tiny-lora")
    assert 1 == sandbox.count("POST", "/v2/endpoint/")


async def test_a_name_belongs_to_one_model(sandbox, connector, adapter):
    """An endpoint of another model is neither changed nor given."""
    add_adapter(sandbox, "me/other")
    assert "me/mine" == await connector.deploy_model("me/tiny-lora", name="mine")
    with pytest.raises(PlatformError, match="it serves me/tiny-lora"):
        await connector.deploy_model("me/other", name="mine")


async def test_an_address_comes_when_it_is_up(sandbox, connector, adapter):
    """Before that it is an error, and says why."""
    sandbox.serving.start = (5, 60)
    id = await connector.deploy_model("me/tiny-lora")
    with pytest.raises(PlatformError, match="has no address yet: it is pending"):
        await connector.get_endpoint_url(id)
    sandbox.advance(60)
    assert f"{sandbox.url}/served/{id}" == await connector.get_endpoint_url(id)
    (listed,) = await connector.list_deployments()
    assert (id, "running", "me/tiny-lora") == (listed.id, listed.status, listed.model_id)


async def test_a_question_wakes_it(sandbox, connect, adapter):
    """It sleeps after a quarter of an hour, and is waited for; what is asked names the adapter, not its base."""
    connector = await connect(wait_minutes=LONG)
    sandbox.serving.start = (5, 60)
    id = await connector.deploy_model("me/tiny-lora")
    sandbox.advance(60 + 15 * 60)
    assert "scaledToZero" == only(sandbox).state
    sandbox.on_answer = lambda received: sandbox.advance(30) if received.status == 503 else None
    answer = await connector.invoke_endpoint(id, CHAT)
    assert "me/tiny-lora" == answer["model"]
    assert [{"model": "me/tiny-lora", **CHAT}] == only(sandbox).invocations
    await connector.invoke_endpoint(id, {"model": "acme/tiny", **CHAT})
    assert "acme/tiny" == only(sandbox).invocations[-1]["model"]


async def test_one_that_sleeps_without_an_address_is_woken_by_the_api(sandbox, connect, api, adapter):
    """It was put to sleep before it was up, so there is nobody to ask."""
    connector = await connect(wait_minutes=LONG)
    sandbox.serving.start = (5, 60)
    id = await connector.deploy_model("me/tiny-lora")
    api.post(f"/v2/endpoint/{id}/scale-to-zero")
    sandbox.on_answer = lambda received: sandbox.advance(60) if received.path.endswith("/resume") else None
    assert "me/tiny-lora" == (await connector.invoke_endpoint(id, CHAT))["model"]


async def test_waiting_has_an_end(sandbox, connect, adapter):
    """One that does not come up in time could not be asked."""
    sandbox.serving.start = (5, 60)
    connector = await connect(wait_minutes=HARDLY)
    id = await connector.deploy_model("me/tiny-lora")
    with pytest.raises(ConnectionFailed, match=r"is not up after 0\.008 minutes: it is pending"):
        await connector.invoke_endpoint(id, CHAT)


async def test_an_error_of_the_model_is_not_waited_for(sandbox, connector, adapter):
    """Nor is a question asked twice whose answer was lost."""
    id = await connector.deploy_model("me/tiny-lora")
    sandbox.faults.add("status", "POST", "/served/", code=422, body={"error": "too long"})
    with pytest.raises(PlatformError, match="too long"):
        await connector.invoke_endpoint(id, CHAT)
    sandbox.faults.add("reset_after", "POST", "/served/")
    with pytest.raises(ConnectionFailed):
        await connector.invoke_endpoint(id, CHAT)
    assert 2 == sandbox.count("POST", "/served/")


async def test_what_was_paused_is_resumed_by_deploying(sandbox, connector, api, adapter):
    """A question does not wake it."""
    id = await connector.deploy_model("me/tiny-lora")
    api.post(f"/v2/endpoint/{id}/pause")
    with pytest.raises(PlatformError) as caught:
        await connector.invoke_endpoint(id, CHAT)
    assert "deploy the model again" in caught.value.remedy
    assert id == await connector.deploy_model("me/tiny-lora")
    assert "running" == only(sandbox).state


async def test_one_that_failed_says_why(sandbox, connector, adapter):
    """In the platform's words; it is neither waited for nor given again."""
    id = await connector.deploy_model("me/tiny-lora")
    only(sandbox).fails = "CUDA out of memory"
    for call in (
        connector.invoke_endpoint(id, CHAT), connector.get_endpoint_url(id), connector.deploy_model("me/tiny-lora")
    ):  # fmt: skip
        with pytest.raises(PlatformError, match="has failed: CUDA out of memory"):
            await call


async def test_what_is_alive_is_told_with_its_price(sandbox, connector, api, adapter):
    """At rest it costs nothing, and is listed all the same; stopped it is gone."""
    id = await connector.deploy_model("me/tiny-lora")
    (rental,) = await connector.list_rentals()
    assert (id, "deployment", "running", Decimal("0.8")) == (
        rental.id, rental.kind, rental.status, rental.hourly_rate
    )  # fmt: skip
    metrics = await connector.get_deployment_metrics(id)
    assert {"state": "running", "ready_replicas": 1, "target_replicas": 1, "hourly_rate": Decimal("0.8")} == metrics
    for action in ("pause", "scale-to-zero"):
        api.post(f"/v2/endpoint/{id}/{action}")
        assert [Decimal(0)] == [each.hourly_rate for each in await connector.list_rentals()]
    assert await connector.end_rental(id)
    assert ([], {}) == (await connector.list_rentals(), sandbox.bills())
    with pytest.raises(ArtifactNotFound):
        await connector.get_endpoint_url(id)


async def test_a_promise_to_delete_is_not_enough(sandbox, connector, adapter):
    """The platform agrees and goes on listing it: it may go on costing."""
    id = await connector.deploy_model("me/tiny-lora")
    sandbox.faults.add("status", "DELETE", "/v2/endpoint/", code=200, body={})
    assert await connector.stop_deployment(id) is False
    assert await connector.stop_deployment(id) is True


async def test_a_token_for_jobs_alone_lists_jobs(sandbox, connect):
    """It may see no endpoints, and cannot have made any."""
    sandbox.jobs.add(tag="ps-one")
    connector = await connect(token=sandbox.accounts.issue("me", "fineGrained", "job.write"))
    assert ["ps-one"] == [each.tag for each in await connector.list_rentals()]
    with pytest.raises(InvalidCredentials) as caught:
        await connector.list_deployments()
    assert "manage Inference Endpoints" in caught.value.remedy


async def test_jobs_are_listed_while_endpoints_are_away(sandbox, connector, adapter, monkeypatch):
    """As the part that they are: what lives beside them is not known."""
    sandbox.jobs.add(tag="ps-one")
    await connector.deploy_model("me/tiny-lora")
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    await connector.connect(sandbox.credentials())
    for path, code in (("/v2/endpoint/", 503), ("/v2/provider/", 503), ("/v2/endpoint/", 429)):
        sandbox.faults.add("status", path=path, code=code)
        with pytest.raises(IncompleteList, match="Inference Endpoints could not be listed") as caught:
            await connector.list_rentals()
        assert ["ps-one"] == [each.tag for each in caught.value.found]
    assert 2 == len(await connector.list_rentals())


async def test_who_has_no_endpoints_may_say_so(sandbox, connect):
    """Their API is not asked then; that it may be switched off is said by whoever could not reach it."""
    sandbox.jobs.add(tag="ps-one")
    sandbox.faults.add("status", path="/v2/", code=503, times=None)
    with pytest.raises(ConnectionFailed) as caught:
        await (await connect()).list_rentals()
    assert "set endpoints_url to off" in caught.value.remedy
    connector = await connect(endpoints_url="off")
    assert ["ps-one"] == [each.tag for each in await connector.list_rentals()]
    with pytest.raises(UnsupportedCapability, match="endpoints_url is off"):
        await connector.list_deployments()


@pytest.mark.parametrize("stock", [{"status": "not_available"}, {"used": 8}], ids=["none there", "quota"])
async def test_an_instance_that_cannot_be_had(sandbox, connector, adapter, stock: Mapping[str, object]):
    """The next dearer one is taken; where one was named, or none is left, it says so, and nothing is made."""

    def short(each: Instance) -> Instance:
        return Instance(each.type, each.size, each.count, each.gpu_memory, each.hourly, **stock)

    l4 = INSTANCES[1]
    sandbox.serving.instances = tuple(short(each) if each is l4 else each for each in INSTANCES)
    with pytest.raises(CapacityError, match="nvidia-l4-x1"):
        await connector.deploy_model("me/tiny-lora", instance="nvidia-l4-x1")
    assert {} == sandbox.serving.endpoints
    await connector.deploy_model("me/tiny-lora")
    assert "nvidia-l4" != only(sandbox).instance.type or "x4" == only(sandbox).instance.size


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (400, "Quota exceeded for nvidia-l4", CapacityError),
        (403, "instance not available in this region", CapacityError),
        (403, "Forbidden", InvalidCredentials),
        (402, "add a card first", InsufficientCreditsError),
        (422, "invalid task", PlatformError),
    ],
)
async def test_a_refusal_is_what_it_means(sandbox, connector, adapter, code, words, kind):
    """In the platform's words, and nothing is made."""
    sandbox.faults.add("status", "POST", "/v2/endpoint/", code=code, body={"error": words})
    with pytest.raises(PlatformError if kind is PlatformError else kind, match=words) as caught:
        await connector.deploy_model("me/tiny-lora")
    assert kind is type(caught.value)
    assert {} == sandbox.serving.endpoints


async def test_no_instance_costs_more_than_was_allowed(sandbox, connect, adapter):
    """Also one that was named."""
    connector = await connect(max_hourly_rate="0.70")
    for options in ({}, {"instance": "nvidia-a100-x1"}):
        with pytest.raises(PlatformError, match=r"0\.70 USD an hour"):
            await connector.deploy_model("me/tiny-lora", **options)
    await connector.deploy_model("me/tiny-lora", instance="aws-us-east-1-nvidia-t4-x1")
    assert {only(sandbox).id: Decimal("0.50")} == sandbox.bills()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"peft_type": "IA3"}, "it is IA3"),
        ({"use_dora": True}, "it is DoRA"),
        ({"base_model_name_or_path": "/models/tiny"}, "nobody says which base model"),
        ({"r": 8, "rank_pattern": {"q_proj": 1024}}, "has rank 1024"),
    ],
)
async def test_an_adapter_that_vllm_does_not_serve(sandbox, connector, settings, sentence):
    """It is refused before anything costs."""
    add_adapter(sandbox, **settings)
    with pytest.raises(InvalidConfig, match=sentence):
        await connector.deploy_model("me/tiny-lora")
    assert {} == sandbox.serving.endpoints


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"instance": "abacus"}, "serves on no instance 'abacus'"),
        ({"nane": "x"}, "there is no option nane"),
        ({"name": "Big Name"}, "name must be at most 32 small letters"),
        (
            {"min_replica": -1, "type": "secret"},
            "min_replica must be a whole number of at least 0.*type must be one of",
        ),
        ({"engine": "abacus"}, "engine must be one of vllm, huggingface"),
        ({"base_model": 3}, "base_model must be a text"),
    ],
)
async def test_bad_options_are_one_sentence(sandbox, connector, adapter, options, sentence):
    """With every fault in it."""
    with pytest.raises(InvalidConfig, match=sentence):
        await connector.deploy_model("me/tiny-lora", **dict(sorted(options.items())))
    assert {} == sandbox.serving.endpoints


async def test_an_answer_in_pieces_is_refused(connector):
    """An interface that gives one answer could only wait for the last piece."""
    with pytest.raises(InvalidConfig, match="an answer in pieces"):
        await connector.invoke_endpoint("router:acme/tiny", {"stream": True, **CHAT})


async def test_the_router_asks_a_provider(sandbox, connect):
    """Of the model, or the provider's own; the bill goes to the namespace."""
    sandbox.serving.providers["acme/tiny"] = ("together",)
    connector = await connect()
    assert "acme/tiny" == (await connector.invoke_endpoint("router:acme/tiny:together", CHAT))["model"]
    await (await connect(namespace="acme")).invoke_endpoint("router:acme/tiny", {"max_tokens": 5, **CHAT})
    assert [
        ("me", {**CHAT, "model": "acme/tiny:together"}),
        ("acme", {"max_tokens": 5, **CHAT, "model": "acme/tiny"}),
    ] == sandbox.serving.routed
    assert f"{sandbox.url}/v1/chat/completions" == await connector.get_endpoint_url("router:acme/tiny")
    with pytest.raises(InvalidConfig, match="is no deployment"):
        await connector.stop_deployment("router:acme/tiny")


async def test_what_the_router_refuses(sandbox, connect):
    """What nobody serves can be deployed; credits that are used up are told as such; a token needs the right."""
    connector = await connect()
    with pytest.raises(PlatformError, match="not supported by any provider") as caught:
        await connector.invoke_endpoint("router:me/tiny-lora", CHAT)
    assert "deploy_model" in caught.value.remedy
    with pytest.raises(InvalidConfig, match="asked with messages"):
        await connector.invoke_endpoint("router:me/tiny-lora", {"prompt": "Hello"})
    sandbox.serving.providers["acme/tiny"] = ("together",)
    reader = await connect(token=sandbox.accounts.issue("me", "read"))
    with pytest.raises(InvalidCredentials, match="may not call Inference Providers"):
        await reader.invoke_endpoint("router:acme/tiny", CHAT)
    sandbox.accounts.owner.can_pay = False
    with pytest.raises(InsufficientCreditsError, match="monthly included credits"):
        await connector.invoke_endpoint("router:acme/tiny", CHAT)
