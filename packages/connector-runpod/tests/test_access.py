"""What stands before the platform: program, key, rights, rate limits, and an edge that speaks no JSON."""

from __future__ import annotations

import httpx2
import pytest


def test_a_key_is_needed_and_must_be_the_right_one(sandbox):
    """401 in both cases, without rate limits, which are told to known callers only."""
    agent = {"user-agent": "t/1"}
    answers = [
        httpx2.get(f"{sandbox.url}/v2/pods", headers=headers)
        for headers in (agent, {**agent, "authorization": "Bearer rpa_wrong"})
    ]
    assert [401, 401] == [answer.status_code for answer in answers]
    assert {"title": "Unauthorized", "status": 401, "detail": "missing bearer token"} == answers[0].json()
    assert not any("ratelimit" in answer.headers for answer in answers)


@pytest.mark.parametrize("agent", ["", "Python-urllib/3.11", "python-requests/2.32"])
def test_programs_that_do_not_say_who_they_are_are_turned_away(sandbox, agent):
    """By the edge: 403 and no JSON, whatever the key."""
    headers = {"authorization": f"Bearer {sandbox.key}", "user-agent": agent}
    for path in ("/v2/pods", "/graphql"):
        answer = httpx2.request("GET" if path == "/v2/pods" else "POST", sandbox.url + path, headers=headers)
        assert (403, "error code: 1010") == (answer.status_code, answer.text)


def test_every_answer_to_a_known_caller_tells_the_limits(sandbox, api):
    """Good ones and refusals; each has an id."""
    answers = [api.get("/v2/pods"), api.get("/v2/pods/none"), api.post("/v2/pods", json={}), api.get("/v2/nowhere")]
    assert [200, 404, 422, 404] == [answer.status_code for answer in answers]
    left = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
    assert ["r=5999", "r=5998", "r=5997", "r=5996"] == left
    assert (
        '"minute";q=6000;w=60, "hour";q=60000;w=3600, "day";q=500000;w=86400' == answers[0].headers["ratelimit-policy"]
    )
    assert 4 == len({answer.headers["x-request-id"] for answer in answers})


def test_too_many_requests_are_told_when_to_come_again(sandbox, api):
    """429, Retry-After in whole seconds; then the window is a new one."""
    sandbox.limit(2, 30)
    answers = [api.get("/v2/pods") for _ in range(3)]
    assert [200, 200, 429] == [answer.status_code for answer in answers]
    assert ("30", "rate limit exceeded for the minute window") == (
        answers[2].headers["retry-after"],
        answers[2].json()["detail"],
    )
    assert answers[2].headers["ratelimit"].startswith('"minute";r=0;t=30')
    sandbox.advance(30)
    assert 200 == api.get("/v2/pods").status_code


def test_a_key_may_have_less_than_all_rights(sandbox, api, wanted):
    """A key that may only look; one that has nothing to do with pods."""
    sandbox.account.read_only()
    assert (200, 403) == (api.get("/v2/pods").status_code, api.post("/v2/pods", json=wanted()).status_code)
    sandbox.account.forbid(path="/v2/pods")
    assert (403, 200) == (api.get("/v2/pods").status_code, api.get("/v2/catalog/gpus").status_code)


@pytest.mark.parametrize(
    ("number", "status", "start"), [(502, 502, "<html>"), (524, 524, "<html>"), (1010, 403, "error code: 1010")]
)
def test_the_edge_answers_without_json(sandbox, api, number, status, start):
    """Whatever was asked; nothing is done."""
    sandbox.edge_error(number)
    answer = api.get("/v2/pods")
    assert status == answer.status_code
    assert answer.text.startswith(start)
    assert "json" not in answer.headers["content-type"]
    assert 200 == api.get("/v2/pods").status_code


def test_a_wrong_method_is_told_the_right_ones(api):
    """405 with Allow."""
    answer = api.put("/v2/billing/pods")
    assert 405 == answer.status_code
    assert "GET" in answer.headers["allow"]


def test_ssh_keys_are_replaced_as_a_whole(api, rent, eventually):
    """And are given to the pods that want them."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me"
    assert 422 == api.put("/v2/account/ssh-keys", json={"keys": ["no key"]}).status_code
    api.put("/v2/account/ssh-keys", json={"keys": ["ssh-rsa AAAA other"]})
    assert {"keys": [key]} == api.put("/v2/account/ssh-keys", json={"keys": [key]}).json()
    assert {"keys": [key]} == api.get("/v2/account/ssh-keys").json()
    pod = rent('echo "$PUBLIC_KEY"', startSsh=True)
    eventually(lambda: pod.log.container_lines == [key])
