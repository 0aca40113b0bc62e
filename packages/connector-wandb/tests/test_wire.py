"""The file stream, GraphQL and signed addresses, told by plain HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

CREATE = """mutation UpsertBucket($input: UpsertBucketInput!) { upsertBucket(input: $input) {
  bucket { id name state historyLineCount config displayName } inserted } }"""
STREAM = "/files/acme/lora-ft/ft-1/file_stream"
HOME = {"entityName": "acme", "projectName": "lora-ft"}


@pytest.fixture
def ask(api) -> Callable[..., httpx2.Response]:
    """Sends a document."""
    return lambda query, **variables: api.post("/graphql", json={"query": query, "variables": variables})


@pytest.fixture
def create(ask) -> Callable[..., httpx2.Response]:
    """Makes the run ft-1, or changes it."""

    def send(**fields: Any) -> httpx2.Response:
        return ask(CREATE, input={"name": "ft-1", "modelName": "lora-ft", "entityName": "acme", **fields})

    return send


def rows(offset: int, *steps: int, **more: Any) -> dict[str, Any]:
    """A piece of history."""
    content = [json.dumps({"_step": step, "loss": 1 / (step + 1)}) for step in steps]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}, **more}


def test_a_run_is_created_once(create):
    """The id is the client's; again it is changed, and what is null stays."""
    first = create(displayName="one", config='{"lr": {"value": 1}}').json()["data"]["upsertBucket"]
    again = create(config=None, displayName="two").json()["data"]["upsertBucket"]
    assert (True, False, first["bucket"]["id"]) == (first["inserted"], again["inserted"], again["bucket"]["id"])
    assert ('{"lr": {"value": 1}}', "two") == (again["bucket"]["config"], again["bucket"]["displayName"])


def test_lines_stand_where_their_offset_says(sandbox, api, create):
    """A replay changes nothing; another line at the same offset replaces the first, and is noted."""
    create()
    for piece in (rows(0, 0, 1), rows(2, 2), rows(0, 0, 1)):
        assert {"stopped": False, "limits": {}, "exitcode": None} == api.post(STREAM, json=piece).json()
    run = sandbox.run("ft-1")
    assert ([0, 1, 2], []) == ([row["_step"] for row in run.history.rows], run.history.replaced)
    api.post(STREAM, json=rows(1, 7))
    assert ([0, 7, 2], [1]) == ([row["_step"] for row in run.history.rows], run.history.replaced)


def test_a_run_ends_and_crashes_and_comes_back(sandbox, api, create, ask):
    """The exit code says how; silence says that it crashed; whoever speaks is alive."""
    state = 'query { project(name: "lora-ft", entityName: "acme") { run(name: "ft-1") { state stopped } } }'
    seen = []
    create()
    for piece, silence in (({}, 0), ({}, 301), (rows(0, 0), 0), ({"preempting": True}, 0), ({"preempting": True}, 301)):
        api.post(STREAM, json=piece)
        sandbox.advance(silence)
        seen.append(ask(state).json()["data"]["project"]["run"]["state"])
    for code in (0, 1):
        api.post(STREAM, json={"complete": True, "exitcode": code})
        seen.append(ask(state).json()["data"]["project"]["run"]["state"])
    assert ["running", "crashed", "running", "preempting", "preempted", "finished", "failed"] == seen


def test_the_stop_button_is_in_the_answer(sandbox, api, create):
    """Of each request after it was pressed."""
    create()
    assert api.post(STREAM, json={}).json()["stopped"] is False
    sandbox.stop_run("acme/lora-ft/ft-1")
    assert api.post(STREAM, json={}).json()["stopped"] is True


def test_a_piece_with_a_fault_is_refused_whole(sandbox, api, create):
    """400 for what is no JSON or has no step, 404 for an unknown run; nothing of it is written."""
    create()
    broken = {"offset": 0, "content": ['{"_step": 0']}
    stepless = {"offset": 0, "content": ['{"loss": 1}']}
    for bad in (broken, stepless):
        files = {"output.log": {"offset": 0, "content": ["x"]}, "wandb-history.jsonl": bad}
        answer = api.post(STREAM, json={"files": files})
        assert (400, ["error"]) == (answer.status_code, list(answer.json()))
    assert ([], []) == (sandbox.run("ft-1").output.texts, sandbox.run("ft-1").history.texts)
    unknown = api.post("/files/acme/lora-ft/none/file_stream", json={})
    assert (404, {"error": "run not found"}) == (unknown.status_code, unknown.json())


def test_history_comes_in_windows_and_samples(api, create, ask):
    """The end of a window is outside, that of a sampled one inside; NaN is kept; rows without a key are left out."""
    create()
    api.post(STREAM, json=rows(0, *range(10)))
    odd = {"offset": 10, "content": ['{"_step": 20, "loss": NaN}', '{"_step": 21, "other": 1}']}
    api.post(STREAM, json={"files": {"wandb-history.jsonl": odd}})
    query = """query($specs: [JSONString!]!) { project(name: "lora-ft", entityName: "acme") { run(name: "ft-1") {
      history(minStep: 2, maxStep: 5, samples: 9) sampledHistory(specs: $specs) historyKeys
      few: history(samples: 3) odd: history(minStep: 10, maxStep: 99, samples: 9) } } }"""
    spec = json.dumps({"keys": ["_step", "loss"], "minStep": 8, "maxStep": 20, "samples": 100})
    run = ask(query, specs=[spec]).json()["data"]["project"]["run"]
    assert [2, 3, 4] == [json.loads(row)["_step"] for row in run["history"]]
    assert [8, 9, 20] == [row["_step"] for row in run["sampledHistory"][0]]
    assert ([0, 5, 21], odd["content"]) == ([json.loads(row)["_step"] for row in run["few"]], run["odd"])
    assert (21, 11) == (run["historyKeys"]["lastStep"], run["historyKeys"]["keys"]["loss"]["typeCounts"][0]["count"])


def test_lists_come_in_pages(create, ask):
    """Each edge has the cursor of what follows it; one that was never given out is refused."""
    for number in range(3):
        create(name=f"run-{number}")
    query = """query($after: String) { project(name: "lora-ft", entityName: "acme") { runCount
      runs(first: 2, after: $after, order: "+created_at") {
        edges { cursor node { name } } pageInfo { hasNextPage } } } }"""
    first = ask(query, after=None).json()["data"]["project"]
    assert ([3, True], 2) == (
        [first["runCount"], first["runs"]["pageInfo"]["hasNextPage"]],
        len(first["runs"]["edges"]),
    )
    for edge, left in zip(first["runs"]["edges"], (["run-1", "run-2"], ["run-2"]), strict=True):
        page = ask(query, after=edge["cursor"]).json()["data"]["project"]["runs"]
        assert (left, False) == ([each["node"]["name"] for each in page["edges"]], page["pageInfo"]["hasNextPage"])
    assert 400 == ask(query, after="invented").status_code


def test_of_two_rows_of_a_step_the_later_line_is_read(sandbox, api, create, ask):
    """The truth still shows both: a client that doubles rows is seen there."""
    create()
    api.post(STREAM, json=rows(0, 0, 1))
    late = {"offset": 2, "content": ['{"_step": 0, "loss": 9}']}
    api.post(STREAM, json={"files": {"wandb-history.jsonl": late}})
    query = '{ project(name: "lora-ft", entityName: "acme") { run(name: "ft-1") { history(samples: 9) } } }'
    history = ask(query).json()["data"]["project"]["run"]["history"]
    assert [9, 0.5] == [json.loads(row)["loss"] for row in history]
    assert [(0, {"loss": 1.0}), (1, {"loss": 0.5}), (0, {"loss": 9})] == sandbox.runs["ft-1"].metrics


def test_counts_may_be_behind(sandbox, api, create):
    """As W&B's are: a client that trusts them too early would write over its own rows."""
    sandbox.run_fields.lag = 3
    create()
    sandbox.advance(10)
    api.post(STREAM, json=rows(0, 0, 1))
    assert 0 == create().json()["data"]["upsertBucket"]["bucket"]["historyLineCount"]
    sandbox.advance(3)
    assert 2 == create().json()["data"]["upsertBucket"]["bucket"]["historyLineCount"]


def test_refusals_have_their_status_and_shape(create, ask):
    """400, 403 and 409 in GraphQL's own words; a project of somebody else is null."""
    foreign = create(entityName="somebody")
    denied = {"message": "permission denied", "path": ["upsertBucket"], "extensions": {"code": "PERMISSION_ERROR"}}
    assert (403, {"errors": [denied], "data": {"upsertBucket": None}}) == (foreign.status_code, foreign.json())
    id = create().json()["data"]["upsertBucket"]["bucket"]["id"]
    ask("mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=id)
    again = create()
    told = "run ft-1 was previously created and deleted; try a new run name"
    assert (409, told) == (again.status_code, again.json()["errors"][0]["message"])
    assert 400 == ask('{ project(name: "lora-ft") { id } }').status_code
    assert {"data": {"project": None}} == ask('{ project(name: "lora-ft", entityName: "somebody") { id } }').json()
    assert 400 == create(name="a/b").status_code


def test_a_document_that_the_schema_lacks_is_noted(sandbox, ask):
    """400, and the fixture would fail if the test did not take it."""
    assert 400 == ask("{ viewer { shoeSize } }").status_code
    (noted,) = sandbox.contract_violations
    assert "Cannot query field 'shoeSize'" in noted
    sandbox.contract_violations.clear()


def test_a_wrong_key_is_nobody(sandbox):
    """401 in the shape of each API; where the platform is polite, 200 and a viewer that is null."""
    with httpx2.Client(base_url=sandbox.url, auth=("api", "x" * 40)) as stranger:
        viewer = {"query": "{ viewer { id } }"}
        refused = stranger.post("/graphql", json=viewer)
        assert (401, "user is not logged in") == (refused.status_code, refused.json()["errors"][0]["message"])
        assert {"error": "user is not logged in"} == stranger.post(STREAM, json={}).json()
        sandbox.is_polite_to_strangers = True
        assert {"data": {"viewer": None}} == stranger.post("/graphql", json=viewer).json()


def test_too_many_requests_are_told_when_to_come_back(sandbox, api, create):
    """429 with Retry-After."""
    create()
    sandbox.limit(1, 30)
    api.post(STREAM, json={})
    late = api.post(STREAM, json={})
    assert (429, "30") == (late.status_code, late.headers["retry-after"])


def test_signed_addresses_are_good_for_one_thing(sandbox, ask, create):
    """Without the key, for one file, method and hour; the server's own address where it is asked to store there."""
    create()
    query = """mutation($input: RunFilesInput!) { createRunFiles(input: $input) { files { uploadUrl } } }"""
    wish = {**HOME, "runName": "ft-1", "files": ["config.yaml"]}
    sandbox.stores_at_own_address = True
    url = ask(query, input=wish).json()["data"]["createRunFiles"]["files"][0]["uploadUrl"]
    assert url.startswith(sandbox.url)
    assert 400 == httpx2.put(url, content=b"a: 1", auth=("api", sandbox.key)).status_code
    assert 400 == httpx2.put(url, content=b"a: 1", headers={"content-md5": "wrong"}).status_code
    assert 200 == httpx2.put(url, content=b"a: 1").status_code
    assert 403 == httpx2.get(url).status_code
    assert b"a: 1" == sandbox.storage.blobs["runs/acme/lora-ft/ft-1/config.yaml"].read()
    sandbox.advance(3600)
    assert 403 == httpx2.put(url, content=b"a: 2").status_code


def test_an_artifact_that_is_not_whole_is_not_committed(sandbox, ask, create):
    """A file that never came, and a manifest of another digest, are refused; then it is committed, twice is fine."""
    create()
    md5 = base64.b64encode(hashlib.md5(b"weights", usedforsecurity=False).digest()).decode()
    text = f"wandb-artifact-manifest-v1\na.bin:{md5}\n"
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    ids = {"clientID": "c" * 128, "sequenceClientID": "s" * 128}
    about = {"artifactTypeName": "model", "artifactCollectionName": "a", "digestAlgorithm": "MANIFEST_MD5"}
    open_ = "mutation($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id state } } }"
    made = ask(open_, input={**HOME, "runName": "ft-1", "digest": digest, **ids, **about}).json()
    id = made["data"]["createArtifact"]["artifact"]["id"]
    commit = "mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { state versionIndex } } }"
    assert "no manifest" in ask(commit, id=id).json()["errors"][0]["message"]
    contents = {"version": 1, "contents": {"a.bin": {"digest": md5, "size": 7}}}
    _put_manifest(ask, id, contents)
    assert "lacks files: a.bin" in ask(commit, id=id).json()["errors"][0]["message"]
    files = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
      files { edges { node { uploadUrl uploadHeaders } } } } }"""
    wish = {"artifactFiles": [{"artifactID": id, "name": "a.bin", "md5": md5}], "storageLayout": "V2"}
    node = ask(files, input=wish).json()["data"]["createArtifactFiles"]["files"]["edges"][0]["node"]
    assert 400 == httpx2.put(node["uploadUrl"], content=b"other").status_code
    assert 200 == httpx2.put(node["uploadUrl"], content=b"weights").status_code
    again = ask(files, input=wish).json()["data"]["createArtifactFiles"]["files"]["edges"][0]["node"]
    assert again["uploadUrl"] is None
    _put_manifest(ask, id, {**contents, "contents": {"b.bin": {"digest": md5, "size": 7}}})
    assert "another one" in ask(commit, id=id).json()["errors"][0]["message"]
    _put_manifest(ask, id, contents)
    for _ in range(2):
        artifact = ask(commit, id=id).json()["data"]["commitArtifact"]["artifact"]
        assert {"state": "COMMITTED", "versionIndex": 0} == artifact


def _put_manifest(ask: Callable[..., httpx2.Response], id: str, contents: dict[str, Any]) -> None:
    query = """mutation($input: CreateArtifactManifestInput!) { createArtifactManifest(input: $input) {
      artifactManifest { file { uploadUrl } } } }"""
    body = json.dumps(contents).encode()
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    wish = {**HOME, "artifactID": id, "name": "wandb_manifest.json", "digest": digest, "runName": "ft-1"}
    manifest = ask(query, input=wish).json()["data"]["createArtifactManifest"]["artifactManifest"]
    assert 200 == httpx2.put(manifest["file"]["uploadUrl"], content=body).status_code
