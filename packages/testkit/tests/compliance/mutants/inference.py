"""Connectors whose endpoints cost more than they serve."""

from __future__ import annotations

from mutants import edit, mutant, tried

_DEPLOY = "        return (await self._api.create_deployment(model_id, options)).id\n"
_STOP = "        await self._api.stop_deployment(deployment_id)\n"
_INVOKE = "        return await self._api.invoke(deployment_id, payload)\n"
_ENDPOINT = "        endpoint = await self._api.deployment(deployment_id)\n"
_DEPLOYMENTS = '        return [read(Endpoint, item) async for item in self._transport.pages("v1", "deployments")]\n'
_DEPLOYMENT = "Deployment(id=each.id, status=each.status, url=each.url, model_id=each.model)"
_POST = 'self._transport.post("v1", "deployments", json=request)'

MUTANTS = (
    mutant(
        "deployment-has-an-id",
        "deploy_model answers the model.",
        edit("connector.py", _DEPLOY, _DEPLOY.replace(".id\n", ".model\n")),
        ruins="nothing can be asked of a deployment whose id is not known",
    ),
    mutant(
        "endpoint-has-an-address",
        "The address is only a path.",
        edit(
            "connector.py",
            "        return endpoint.url\n",
            '        return f"/v1/deployments/{deployment_id}/invoke"\n',
        ),
    ),
    mutant(
        "endpoint-answers",
        "The payload is wrapped.",
        edit("api.py", '"invoke", json=payload)', '"invoke", json={"inputs": payload})'),
    ),
    mutant(
        "deployments-are-listed",
        "The list does not say what is served.",
        edit("connector.py", _DEPLOYMENT, _DEPLOYMENT.replace(", model_id=each.model", "")),
    ),
    mutant(
        "every-deployment-is-listed",
        "The first page is the list.",
        edit(
            "api.py",
            _DEPLOYMENTS,
            '        page = await self._transport.get("v1", "deployments")\n'
            '        return [read(Endpoint, item) for item in page["items"]]\n',
        ),
    ),
    mutant(
        "stop-ends-it",
        "In the list every deployment is ready.",
        edit("connector.py", _DEPLOYMENT, _DEPLOYMENT.replace("status=each.status", 'status="ready"')),
    ),
    mutant(
        "stop-twice",
        "What is stopped cannot be stopped.",
        edit(
            "connector.py",
            _STOP,
            '        if (await self._api.deployment(deployment_id)).status == "stopped":\n'
            f'            raise PlatformError("it is stopped already")\n{_STOP}',
        ),
    ),
    mutant(
        "stopped-endpoint-is-an-error",
        "An endpoint that cannot answer answers nothing.",
        edit(
            "connector.py",
            _INVOKE,
            tried(_INVOKE, "PlatformError", "return {}"),
        ),
    ),
    mutant(
        "unknown-deployment-has-no-address",
        "An address is made up from the id.",
        edit(
            "connector.py",
            _ENDPOINT,
            tried(_ENDPOINT, "PlatformError", 'return f"https://{deployment_id}.acme.example"'),
        ),
    ),
    mutant(
        "lost-deployment-is-not-repeated",
        "A deployment is asked for until there is an answer.",
        edit("api.py", _POST, _POST.replace("json=request", "json=request, idempotent=True")),
    ),
    mutant(
        "stop-without-an-answer",
        "Stopping is done as well as one can.",
        edit(
            "connector.py",
            _STOP,
            tried(_STOP, "ConnectionFailed", "return False"),
        ),
    ),
    mutant(
        "refused-deployment-says-why",
        "Why a model cannot be served stays with the platform.",
        edit(
            "connector.py",
            _DEPLOY,
            tried(_DEPLOY, "PlatformError", 'raise PlatformError("the model cannot be served") from None'),
        ),
    ),
    mutant(
        "deployment-has-metrics",
        "The metrics are a list of pairs.",
        edit(
            "connector.py",
            "        return await self._api.deployment_metrics(deployment_id)\n",
            "        return list((await self._api.deployment_metrics(deployment_id)).items())\n",
        ),
    ),
)
