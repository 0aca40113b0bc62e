"""An OpenAPI document as a judge: what it allows passes, everything else is told and answered 400."""

from __future__ import annotations

import json

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from peft_studio.errors import InvalidConfig
from peft_studio_testkit.sandbox import HttpSandbox, Received
from peft_studio_testkit.sandbox.openapi import Contract, load_contract

DOCUMENT = """
openapi: 3.1.0
info: {title: Machines, version: "1"}
servers: [{url: "https://api.example.com/v1"}]
paths:
  /machines:
    get:
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1}}
        - {name: tag, in: query, schema: {type: array, items: {type: string}}}
        - {name: size, in: query, explode: false, schema: {type: array, items: {type: integer}}}
        - {name: filter, in: query, style: deepObject, schema: {type: object}}
        - {name: X-Team, in: header, required: true, schema: {$ref: "#/components/schemas/Team"}}
      responses: {"200": {description: all}}
    post:
      requestBody: {$ref: "#/components/requestBodies/Machine"}
      responses: {"201": {description: made}}
  /machines/mine:
    get: {responses: {"200": {description: mine}}}
  /machines/{id}:
    parameters:
      - $ref: "#/components/parameters/Id"
    get: {responses: {"200": {description: one}}}
    put:
      requestBody: {content: {application/octet-stream: {}}}
      responses: {"200": {description: stored}}
components:
  parameters:
    Id: {name: id, in: path, required: true, schema: {type: integer}}
  requestBodies:
    Machine:
      required: true
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Machine"}
  schemas:
    Team: {type: string, pattern: "^[a-z]+$"}
    Machine:
      type: object
      required: [name]
      additionalProperties: false
      properties:
        name: {type: string}
        disk: {type: [integer, "null"]}
        parts: {type: array, items: {type: object, properties: {kind: {enum: [cpu, gpu]}}}}
"""


@pytest.fixture
def contract(tmp_path):
    """The document, read."""
    (tmp_path / "machines.yaml").write_text(DOCUMENT, encoding="utf-8")
    return load_contract(tmp_path / "machines.yaml")


def judge(contract: Contract, method: str, path: str, body=None, query=(), **headers) -> list[str]:
    """What the document has against a request."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"content-type": "application/json"} if content else {}
    received = Received(
        method=method, path=path, query=list(query), headers={**kind, **headers}, at=0, body=content, size=len(content)
    )
    return contract.violations(received)


@pytest.mark.parametrize(
    ("method", "path", "how"),
    [
        ("POST", "/machines", {"body": {"name": "a", "disk": None, "parts": [{"kind": "gpu"}]}}),
        ("POST", "/v1/machines", {"body": {"name": "a"}}),
        ("POST", "/machines", {"body": {"name": "a"}, "content-type": "application/json; charset=utf-8"}),
        ("GET", "/machines/7", {}),
        ("GET", "/machines/mine", {}),
        ("PUT", "/machines/7", {"body": b"\x00", "content-type": "application/octet-stream"}),
        ("GET", "/machines", {"query": [("limit", "3"), ("tag", "a"), ("tag", "b"), ("size", "1,2")], "x-team": "red"}),
        ("GET", "/machines", {"query": [("filter[a]", "1")], "x-team": "red"}),
    ],
)
def test_what_the_document_allows_passes(contract, method, path, how):
    """Paths with and without the server's prefix, references, lists in both styles, null."""
    assert [] == judge(contract, method, path, **how)


@pytest.mark.parametrize(
    ("method", "path", "how", "complaint"),
    [
        ("GET", "/machine", {}, "there is no such path"),
        ("GET", "/v2/machines", {}, "there is no such path"),
        ("DELETE", "/machines", {}, "/machines has no DELETE"),
        ("GET", "/machines/seven", {}, "the path parameter id: 'seven' is not of type 'integer'"),
        ("GET", "/machines", {}, "the header parameter X-Team is missing"),
        ("GET", "/machines", {"x-team": "RED"}, "the header parameter X-Team: 'RED' does not match '^[a-z]+$'"),
        ("GET", "/machines", {"x-team": "a", "query": [("limit", "0")]}, "the query parameter limit: 0 is less than"),
        ("GET", "/machines", {"x-team": "a", "query": [("limit", "x")]}, "limit: 'x' is not of type 'integer'"),
        ("GET", "/machines", {"x-team": "a", "query": [("size", "1,x")]}, "size[1]: 'x' is not of type 'integer'"),
        ("GET", "/machines", {"x-team": "a", "query": [("limt", "1")]}, "there is no query parameter limt"),
        ("POST", "/machines", {}, "the body is missing"),
        ("POST", "/machines", {"body": b"{"}, "the body is not JSON"),
        ("POST", "/machines", {"body": {}}, "the body: 'name' is a required property"),
        ("POST", "/machines", {"body": {"name": 1}}, "the body.name: 1 is not of type 'string'"),
        ("POST", "/machines", {"body": {"name": "a", "parts": [{"kind": "x"}]}}, "the body.parts[0].kind: 'x' is not"),
        ("POST", "/machines", {"body": {"name": "a", "nam": 1}}, "'nam' was unexpected"),
        ("POST", "/machines", {"body": b"a=b", "content-type": "text/plain"}, "is text/plain, not application/json"),
        ("GET", "/machines/7", {"body": {"a": 1}}, "it takes no body"),
    ],
)
def test_what_it_does_not_allow_is_told(contract, method, path, how, complaint):
    """One sentence with the place, and nothing besides."""
    (told,) = judge(contract, method, path, **how)
    assert told.startswith(f"{method} {path}: ")
    assert complaint in told


def test_all_faults_of_a_request_are_told(contract):
    """Not the first one only."""
    assert 3 == len(judge(contract, "GET", "/machines", query=[("limit", "x"), ("limt", "1")]))


def test_nullable_of_the_older_version(tmp_path):
    """OpenAPI 3.0 says `nullable`."""
    schema = {"type": "string", "nullable": True}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": schema}}}}}
    document = {"openapi": "3.0.3", "paths": {"/x": {"post": {"requestBody": body}}}}
    (tmp_path / "old.json").write_text(json.dumps(document), encoding="utf-8")
    contract = load_contract(tmp_path / "old.json")
    assert [] == judge(contract, "POST", "/x", {"a": None})
    assert ["POST /x: the body.a: 1 is not of type 'string'"] == judge(contract, "POST", "/x", {"a": 1})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "a: [", "cannot be read"),
        ("a.yaml", "swagger: '2.0'", "is not an OpenAPI 3 document"),
        ("a.json", "[]", "is not an OpenAPI 3 document"),
    ],
)
def test_a_document_that_is_none_is_told(tmp_path, name, text, words):
    """In one sentence with the file."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig, match=words) as caught:
        load_contract(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_document_that_is_not_there_is_told(tmp_path):
    """Also in one sentence."""
    with pytest.raises(InvalidConfig, match=r"none.yaml cannot be read"):
        load_contract(tmp_path / "none.yaml")


def test_a_sandbox_answers_violations_400(tmp_path):
    """The reason goes to the client and into the list; the handler never runs; a reset empties the list."""
    (tmp_path / "machines.yaml").write_text(DOCUMENT, encoding="utf-8")
    handled = []

    class Machines(HttpSandbox):
        openapi = tmp_path / "machines.yaml"
        outside_openapi = r"^/signed/"

        def routes(self):
            def answer(request):
                handled.append(request.url.path)
                return JSONResponse({})

            return [Route("/v1/machines", answer, methods=["POST"]), Route("/signed/x", answer)]

    with Machines() as sandbox:
        headers = {"authorization": f"Bearer {sandbox.key}"}
        wrong = httpx2.post(f"{sandbox.url}/v1/machines", json={}, headers=headers)
        right = httpx2.post(f"{sandbox.url}/v1/machines", json={"name": "a"}, headers=headers)
        outside = httpx2.get(f"{sandbox.url}/signed/x", headers=headers)
        reason = "POST /v1/machines: the body: 'name' is a required property"
        assert [400, 200, 200] == [answer.status_code for answer in (wrong, right, outside)]
        assert ({"error": {"message": reason}}, [reason]) == (wrong.json(), sandbox.contract_violations)
        assert ["/v1/machines", "/signed/x"] == handled
        assert [False, True, True] == [received.commit for received in sandbox.requests]
        sandbox.reset()
        assert [] == sandbox.contract_violations


def test_who_is_not_known_is_not_told_of_the_document(tmp_path):
    """Authentication comes first: a wrong key is 401, whatever was sent."""
    (tmp_path / "machines.yaml").write_text(DOCUMENT, encoding="utf-8")

    class Machines(HttpSandbox):
        openapi = tmp_path / "machines.yaml"

    with Machines() as sandbox:
        assert 401 == httpx2.get(f"{sandbox.url}/nothing").status_code
        assert [] == sandbox.contract_violations
