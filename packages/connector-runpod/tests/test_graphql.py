"""The old API: balance, catalogue and pods, for whoever still asks it."""

from __future__ import annotations

import httpx2
import pytest

GPU = "NVIDIA GeForce RTX 4090"


@pytest.fixture
def ask(sandbox):
    """Sends a document; without a key when told."""

    def send(query: str, key: str | None = "right", **variables) -> httpx2.Response:
        headers = {"user-agent": "t/1"}
        if key is not None:
            headers["authorization"] = f"Bearer {sandbox.key if key == 'right' else key}"
        body = {"query": query, "variables": variables}
        return httpx2.post(sandbox.credentials()["graphql_url"], headers=headers, json=body)

    return send


def test_the_balance_is_what_is_left(sandbox, ask, rent):
    """Paid in, less what pods and volumes have cost."""
    sandbox.account.balance = 100
    rent(disk=73)
    sandbox.advance(3595)
    me = ask("{ myself { id email clientBalance currentSpendPerHr } }").json()["data"]["myself"]
    assert (pytest.approx(100 - 0.75), pytest.approx(0.75)) == (me["clientBalance"], me["currentSpendPerHr"])


def test_who_has_no_key_is_nobody_and_a_wrong_one_is_refused(ask):
    """200 with null, and 401."""
    assert {"data": {"myself": None}} == ask("{ myself { id } }", key=None).json()
    wrong = ask("{ myself { id } }", key="rpa_wrong")
    assert (401, {"error": {}}) == (wrong.status_code, wrong.json())


def test_the_catalogue_is_public(ask):
    """Stock in another spelling."""
    query = """query($id: String) { gpuTypes(input: {id: $id}) { id memoryInGb
        lowestPrice(input: {gpuCount: 1, secureCloud: false}) { stockStatus uninterruptablePrice
            gpuTypeCudaVersions { cudaVersion availability } } } }"""
    (row,) = ask(query, key=None, id=GPU).json()["data"]["gpuTypes"]
    assert {"stockStatus": "High", "uninterruptablePrice": 0.34} == {
        name: row["lowestPrice"][name] for name in ("stockStatus", "uninterruptablePrice")
    }
    assert [] == ask(query, key=None, id="NVIDIA Nothing").json()["data"]["gpuTypes"]


def test_faults_are_told_in_the_document(ask):
    """With status 200: a broken text, an unknown field, no capacity, an unknown pod."""
    wish = f'{{name: "a", imageName: "i", gpuTypeId: "{GPU}", gpuCount: 99}}'
    create = f"mutation {{ podFindAndDeployOnDemand(input: {wish}) {{ id }} }}"
    queries = {
        "{ myself { id ": "Syntax Error",
        "{ myself { shoeSize } }": "Cannot query field 'shoeSize'",
        create: "There are no longer any instances available",
        'mutation { podStop(input: {podId: "none"}) { id } }': "Pod not found",
    }
    for query, start in queries.items():
        answer = ask(query)
        assert 200 == answer.status_code
        assert answer.json()["errors"][0]["message"].startswith(start)
    assert {"data": {"pod": None}} == ask('{ pod(input: {podId: "none"}) { id } }').json()


def test_a_pod_may_terminate_itself_here_too(ask, rent):
    """And nothing else."""
    pod, other = rent(), rent()
    end = "mutation($id: String!) { podTerminate(input: {podId: $id}) }"
    assert "Unauthorized" == ask(end, key=pod.key, id=other.id).json()["errors"][0]["message"]
    assert "Unauthorized" == ask("{ myself { id } }", key=pod.key).json()["errors"][0]["message"]
    assert {"data": {"podTerminate": None}} == ask(end, key=pod.key, id=pod.id).json()
    assert (True, False) == (pod.is_deleted, other.is_deleted)
