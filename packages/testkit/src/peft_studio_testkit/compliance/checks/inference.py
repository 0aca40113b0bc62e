"""Endpoints: deployed once, asked, and gone when they are stopped, because they cost money."""

from __future__ import annotations

from collections.abc import Mapping

from peft_studio import ConnectionFailed, Deployment, JobNotFound, PeftStudioError, PlatformError
from peft_studio.errors import ArtifactNotFound
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="inference")

_UNKNOWN = (PlatformError, JobNotFound, ArtifactNotFound)


async def _deploy(subject: Subject, session: Session) -> str:
    model = subject.sandbox.models.add("one").id
    return str(await session.ask("deploy_model", str, model_id=model))


@check()
async def deployment_has_an_id(subject: Subject) -> None:
    """deploy_model answers the id of one deployment of that model."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
    expect(id in subject.sandbox.deployments, f"deploy_model answered {id!r}, which the platform does not know")
    equal(1, len(subject.sandbox.deployments), "the number of deployments")
    expect(subject.sandbox.deployments[id].model_id in subject.sandbox.models, "another model is deployed")


@check()
async def endpoint_has_an_address(subject: Subject) -> None:
    """get_endpoint_url answers an address."""
    async with subject.connected() as session:
        url = await session.ask("get_endpoint_url", str, deployment_id=await _deploy(subject, session))
    expect(url.startswith(("https://", "http://127.0.0.1", "http://localhost")), f"get_endpoint_url answered {url!r}")


@check()
async def endpoint_answers(subject: Subject) -> None:
    """invoke_endpoint sends the payload as it is, in all letters, and answers what came back."""
    payload = {"prompt": "Grüße 世界", "max_tokens": 8}
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        answer = await session.call("invoke_endpoint", deployment_id=id, payload=payload)
    expect(isinstance(answer, Mapping) and answer, f"invoke_endpoint answered {shown(answer)}")
    equal([payload], subject.sandbox.deployments[id].invocations, "what arrived at the endpoint")


@check()
async def deployments_are_listed(subject: Subject) -> None:
    """list_deployments answers Deployment with id, status and model."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        answer = await session.call("list_deployments")
    expect(
        isinstance(answer, list) and all(isinstance(each, Deployment) for each in answer),
        f"it answered {shown(answer)}",
    )
    equal([id], [each.id for each in answer], "the ids that list_deployments answers")
    equal(subject.sandbox.deployments[id].model_id, answer[0].model_id, "model_id of the deployment")


@check(network=True)
async def every_deployment_is_listed(subject: Subject) -> None:
    """What the platform spreads over many pages is one list: what is not listed is paid for unseen."""
    for number in range(250):
        subject.sandbox.deployments.add(f"model-{number}")
    async with subject.connected() as session:
        equal(250, len(await session.ask("list_deployments", list)), "the number of deployments")


@check()
async def stop_ends_it(subject: Subject) -> None:
    """stop_deployment answers True, and the deployment is gone at the platform and from the list."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        equal(True, await session.call("stop_deployment", deployment_id=id), "stop_deployment")
        gone = id not in subject.sandbox.deployments or subject.sandbox.deployments[id].status != "ready"
        expect(gone, "the platform goes on serving it")
        equal(
            [], [each.id for each in await session.ask("list_deployments", list) if each.status == "ready"], "the list"
        )


@check()
async def stop_twice(subject: Subject) -> None:
    """Stopping again answers True: it is stopped."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        for _ in range(2):
            equal(True, await session.call("stop_deployment", deployment_id=id), "stop_deployment")


@check()
async def stopped_endpoint_is_an_error(subject: Subject) -> None:
    """Asking a deployment that was stopped, or never was, raises an error of ours."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        await session.call("stop_deployment", deployment_id=id)
        for each in (id, "no-such-deployment"):
            call = session.call("invoke_endpoint", deployment_id=each, payload={"prompt": "x"})
            await refused(call, _UNKNOWN, f"asking {each}")


@check()
async def unknown_deployment_has_no_address(subject: Subject) -> None:
    """get_endpoint_url of an unknown deployment raises; no address is made up."""
    async with subject.connected() as session:
        call = session.call("get_endpoint_url", deployment_id="no-such-deployment")
        await refused(call, _UNKNOWN, "the address of an unknown deployment")


@check(network=True)
async def lost_deployment_is_not_repeated(subject: Subject) -> None:
    """When the answer to deploy_model is lost it raises ConnectionFailed; one deployment, not two."""
    model = subject.sandbox.models.add("one").id
    async with subject.connected() as session:
        subject.http.faults.add("reset_after", method="POST", times=None)
        await refused(session.call("deploy_model", model_id=model), ConnectionFailed, "deploy_model without an answer")
        subject.http.faults.clear()
    equal(1, len(subject.sandbox.deployments), "the number of deployments")


@check(network=True)
async def stop_without_an_answer(subject: Subject) -> None:
    """When the platform cannot be asked stop_deployment raises ConnectionFailed: it may go on costing."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        subject.http.faults.add("reset_before", times=None)
        await refused(session.call("stop_deployment", deployment_id=id), ConnectionFailed, "stop_deployment")
        subject.http.faults.clear()


@check(network=True)
async def refused_deployment_says_why(subject: Subject) -> None:
    """402 to deploy_model is an error of ours with the platform's words; nothing is deployed."""
    model = subject.sandbox.models.add("one").id
    async with subject.connected() as session:
        body = subject.http.error_body("add a card first")
        subject.http.faults.add("status", method="POST", code=402, body=body, times=None)
        answer = await outcome(session.call("deploy_model", model_id=model))
        subject.http.faults.clear()
    expect(
        isinstance(answer, PeftStudioError) and "add a card first" in str(answer), f"deploy_model gave {shown(answer)}"
    )
    equal(0, len(subject.sandbox.deployments), "the number of deployments")


@check(offers=("get_deployment_metrics",))
async def deployment_has_metrics(subject: Subject) -> None:
    """get_deployment_metrics answers a mapping."""
    async with subject.connected() as session:
        id = await _deploy(subject, session)
        answer = await session.call("get_deployment_metrics", deployment_id=id)
    expect(isinstance(answer, Mapping), f"get_deployment_metrics answered {shown(answer)}")
