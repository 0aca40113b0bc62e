"""Every call of the documented interface goes through the manager, and what comes back is checked."""

from __future__ import annotations

from typing import Any

import pytest

from peft_studio import (
    ConnectorManager,
    Deployment,
    IncompleteList,
    ModelInfo,
    PeftStudioError,
    PlatformConnector,
    PlatformError,
    Resource,
    UnsupportedCapability,
)
from peft_studio.validation import DOCUMENTED

from .everything import CALLS, DEPLOYMENT, MODEL, Everything

LABEL = "everything (1.0)"

#: Called by the manager itself, or with tests of their own.
_ELSEWHERE = {
    "connect", "disconnect", "get_required_credentials", "validate_config", "submit_job", "stream_logs",
    "stream_events",
}  # fmt: skip


def manager_of(connector: type[PlatformConnector] = Everything) -> ConnectorManager:
    """A manager that knows this connector and nothing else."""
    return ConnectorManager(connectors=[connector], discover=False, ledger=False)


async def failure(method: str, answer: Any) -> PeftStudioError:
    """The error of a call that the connector answers with `answer`."""

    async def wrong(self, **arguments):
        return answer

    async with manager_of(type("Changed", (Everything,), {method: wrong})) as manager:
        await manager.connect("everything")
        with pytest.raises(PeftStudioError) as caught:
            await getattr(manager, method)("everything", **CALLS[method][0])
    return caught.value


def test_the_whole_interface_is_driven() -> None:
    """What a connector may implement, a manager can call; nothing is left out of the tests below."""
    assert set(DOCUMENTED) == {*CALLS, *_ELSEWHERE}
    assert [] == [
        name for name in set(DOCUMENTED) - {"get_required_credentials"} if not hasattr(ConnectorManager, name)
    ]


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_reaches_the_connector_and_comes_back(method: str) -> None:
    """The arguments arrive under their names; the answer is the connector's own."""
    arguments, expected = CALLS[method]
    async with manager_of() as manager:
        await manager.connect("everything")
        assert expected == await getattr(manager, method)("everything", **arguments)
        connector = manager.get_connector("everything")
        assert isinstance(connector, Everything)
        assert [(method, arguments)] == connector.asked


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_that_the_connector_does_not_have_is_refused(method: str) -> None:
    """With a sentence that names the connector; only verifying has a default."""

    class Nothing(PlatformConnector):
        name, display_name, description, version = "nothing", "Nothing", "Does nothing", "1.0"

        async def connect(self, credentials):
            return True

        async def disconnect(self): ...

    async with manager_of(Nothing) as manager:
        await manager.connect("nothing")
        call = getattr(manager, method)("nothing", **CALLS[method][0])
        if method == "verify_connection":
            assert await call
            return
        with pytest.raises(UnsupportedCapability, match=r"nothing \(1\.0\): nothing does not "):
            await call


@pytest.mark.parametrize("method", [name for name, (_, answer) in CALLS.items() if answer is not None])
async def test_an_answer_of_another_type_is_refused(method: str) -> None:
    """Nothing is made of it; a status has words of its own."""
    error = await failure(method, object())

    assert isinstance(error, PlatformError)
    assert str(error).startswith(f"{LABEL}: {method} answered <object object")
    assert ("it must answer " in str(error)) or "the statuses are" in str(error)


@pytest.mark.parametrize(
    ("method", "answer", "sentence"),
    [
        ("search_models", [MODEL, {"id": "m-2"}], "{'id': 'm-2'} as item 2 of 2: each must be ModelInfo"),
        ("list_deployments", [None, DEPLOYMENT], "None as item 1 of 2: each must be Deployment"),
        ("list_resources", [Resource(id="a", name="A"), "b"], "'b' as item 2 of 2: each must be Resource"),
        ("get_metrics", [{"step": 1}, 2, 3], "2 as item 2 of 3: each must be Mapping"),
    ],
)
async def test_a_wrong_item_of_a_list_is_told(method: str, answer: Any, sentence: str) -> None:
    """Which one it is, and what it must be."""
    assert f"{LABEL}: {method} answered {sentence}" == str(await failure(method, answer))


async def test_a_required_credential_must_be_a_text() -> None:
    """Found when connecting, before anybody looks for a value."""

    class Odd(Everything):
        def get_required_credentials(self):
            return ["api_key", 7]

    with pytest.raises(PlatformError, match="get_required_credentials answered 7 as item 2 of 2: each must be str"):
        await manager_of(Odd).connect("everything")


async def test_a_part_of_a_list_is_looked_at_too() -> None:
    """What comes with the error is used as the list would be."""

    async def list_rentals(self):
        raise IncompleteList("the disks could not be listed", found=["pod-1"])

    async with manager_of(type("Careless", (Everything,), {"list_rentals": list_rentals})) as manager:
        await manager.connect("everything")
        with pytest.raises(PlatformError, match="'pod-1' as item 1 of 1: each must be Rental"):
            await manager.list_rentals("everything")


async def test_no_job_with_that_tag_is_an_answer() -> None:
    """None says that the platform knows none."""

    async def find_job(self, tag): ...

    async with manager_of(type("Empty", (Everything,), {"find_job": find_job})) as manager:
        await manager.connect("everything")
        assert None is await manager.find_job("everything", "t-1")


async def test_options_may_have_any_name() -> None:
    """A platform's own option is not taken for an argument of ours."""
    options = {"name": "mine", "method": "POST", "kind": "vllm"}
    async with manager_of() as manager:
        await manager.connect("everything")
        assert "d-1" == await manager.deploy_model("everything", "m-1", **options)
        connector = manager.get_connector("everything")
        assert isinstance(connector, Everything)
        assert [("deploy_model", {"model_id": "m-1", **options})] == connector.asked


async def test_a_search_ends_where_it_is_enough() -> None:
    """A connector that can stop there is told so; of what another one finds the rest is cut off."""

    async def all_of_them(self, query):
        return [MODEL] * 5

    async def some_of_them(self, query, limit=None):
        return [MODEL] * (5 if limit is None else limit - 1)

    for search_models, most in ((all_of_them, 3), (some_of_them, 2)):
        async with manager_of(type("Changed", (Everything,), {"search_models": search_models})) as manager:
            await manager.connect("everything")
            assert most == len(await manager.search_models("everything", "first", 3))
            assert 5 == len(await manager.search_models("everything", "first"))


async def test_lists_are_copies() -> None:
    """A caller that sorts a list does not sort the connector's own."""
    async with manager_of() as manager:
        await manager.connect("everything")
        models: list[ModelInfo] = await manager.search_models("everything", "first")
        deployments: list[Deployment] = await manager.list_deployments("everything")

    assert models is not CALLS["search_models"][1]
    assert deployments is not CALLS["list_deployments"][1]
