"""Files come up and down as git and LFS have them, over plain HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import Any

import httpx2
import pytest

from peft_studio_huggingface.sandbox.git import object_id

WEIGHTS = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


def batch(api: httpx2.Client, content: bytes = WEIGHTS) -> dict[str, Any]:
    """What the Hub wants to be done with that content."""
    wanted = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [wanted], "hash_algo": "sha256"}
    (found,) = api.post("/me/lora.git/info/lfs/objects/batch", json=body).json()["objects"]
    return dict(found)


def commit(api: httpx2.Client, *lines: tuple[str, dict[str, Any]], **header: str) -> httpx2.Response:
    """The answer to a commit of these lines."""
    every = [("header", {"summary": "Test", **header}), *lines]
    body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in every)
    return api.post("/api/models/me/lora/commit/main", content=body, headers={"content-type": "application/x-ndjson"})


def test_a_file_in_git_comes_from_the_hub_itself(sandbox, api):
    """With the commit and git's own name of it; a part when a part is asked for."""
    sandbox.hub.add("me/lora", {"config.json": b'{"r": 8}'})
    answer = api.head("/me/lora/resolve/main/config.json")
    assert (200, "8", f'"{object_id("blob", b"""{"r": 8}""")}"') == (
        answer.status_code, answer.headers["content-length"], answer.headers["etag"],
    )  # fmt: skip
    assert sandbox.hub["me/lora"].head.id == answer.headers["x-repo-commit"]
    part = api.get("/me/lora/resolve/main/config.json", headers={"range": "bytes=5-"})
    assert (206, b" 8}") == (part.status_code, part.content)


def test_a_file_in_lfs_comes_from_the_storage(sandbox, api):
    """The Hub says where, which sha256 and how long; the storage wants no token, and serves parts."""
    sandbox.hub.add("me/lora", {"adapter_model.safetensors": WEIGHTS}, private=True)
    answer = api.get("/me/lora/resolve/main/adapter_model.safetensors")
    told = [answer.headers[name] for name in ("x-linked-etag", "x-linked-size")]
    assert (302, [f'"{SHA256}"', str(len(WEIGHTS))]) == (answer.status_code, told)
    where = answer.headers["location"]
    assert where.startswith(sandbox.storage_url + "/")
    assert WEIGHTS == httpx2.get(where).content
    part = httpx2.get(where, headers={"range": "bytes=255000-"})
    assert (206, "bytes 255000-255999/256000", WEIGHTS[255000:]) == (
        part.status_code, part.headers["content-range"], part.content,
    )  # fmt: skip
    assert 416 == httpx2.get(where, headers={"range": "bytes=256000-"}).status_code


def test_the_storage_takes_nobody_who_shows_a_token(sandbox, api):
    """A client that carries it there is caught; so is one whose address is old, or of another file."""
    sandbox.hub.add("me/lora", {"a.bin": WEIGHTS, "b.bin": b"\0"})
    where = api.get("/me/lora/resolve/main/a.bin").headers["location"]
    assert 400 == api.get(where).status_code
    other = where.replace(SHA256, hashlib.sha256(b"\0").hexdigest())
    assert 403 == httpx2.get(other).status_code
    assert 403 == httpx2.put(where, content=b"mine").status_code
    sandbox.advance(3601)
    assert 403 == httpx2.get(where).status_code


def test_an_upload_is_content_first_and_the_commit_then(sandbox, api):
    """Content that is there is not wanted again; a commit of what is not there is refused."""
    sandbox.hub.add("me/lora")
    line = ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": SHA256, "size": len(WEIGHTS)})
    assert 400 == commit(api, line).status_code
    actions = batch(api)["actions"]
    told = {"oid": SHA256, "size": len(WEIGHTS)}
    assert 404 == api.post(actions["verify"]["href"], json=told).status_code
    assert 400 == httpx2.put(actions["upload"]["href"], content=WEIGHTS[1:]).status_code
    assert 200 == httpx2.put(actions["upload"]["href"], content=WEIGHTS).status_code
    assert 200 == api.post(actions["verify"]["href"], json=told).status_code
    assert "actions" not in batch(api)
    text = ("file", {"path": "b.txt", "content": base64.b64encode(b"b").decode(), "encoding": "base64"})
    assert 200 == commit(api, line, text).status_code
    assert (WEIGHTS, b"b") == tuple(sandbox.hub.read("me/lora", path) for path in ("a.bin", "b.txt"))


def test_an_upload_in_parts_is_put_together(sandbox, api):
    """In the order of their numbers, and only with the names that the parts were given."""
    sandbox.hub.add("me/lora")
    sandbox.multipart.above, sandbox.multipart.part_size = 100_000, 100_000
    upload = batch(api)["actions"]["upload"]
    numbers = sorted(name for name in upload["header"] if name.isdecimal())
    assert ("100000", ["00001", "00002", "00003"]) == (upload["header"]["chunk_size"], numbers)
    parts = []
    for number in reversed(numbers):
        content = WEIGHTS[(int(number) - 1) * 100_000 : int(number) * 100_000]
        put = httpx2.put(upload["header"][number], content=content)
        parts.append({"partNumber": int(number), "etag": put.headers["etag"]})
    done = httpx2.post(upload["href"], json={"oid": SHA256, "parts": parts[::-1]})
    assert (200, False) == (done.status_code, "actions" in batch(api))


def test_a_commit_is_whole_or_nothing(sandbox, api):
    """A stale parent, a path outside, a file in place of a folder, a README that is none: nothing changed."""
    repository = sandbox.hub.add("me/lora", {"a": b"a"})
    before = repository.head

    def text(path: str, content: bytes = b"x") -> tuple[str, dict[str, Any]]:
        return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}

    assert 412 == commit(api, text("b"), parentCommit="0" * 40).status_code
    assert 400 == commit(api, text("b"), text("../c")).status_code
    assert 400 == commit(api, text("b"), text("a/b")).status_code
    assert 400 == commit(api, text("b"), text("README.md", b"---\n[\n---\n")).status_code
    assert 404 == commit(api, text("b"), ("deletedFile", {"path": "missing"})).status_code
    assert before == repository.head
    assert 200 == commit(api, ("deletedFile", {"path": "a"}), text("b"), parentCommit=before.id).status_code
    assert [".gitattributes", "b"] == list(repository.head.files)


def test_too_many_requests_are_told_when_to_come_back(sandbox, api):
    """By the structured fields that stand on every answer; files have a window of their own."""
    sandbox.hub.add("me/lora", {"a": b"a"})
    sandbox.limit(2, 300)
    assert '"api";r=1;t=300' == api.get("/api/models/me/lora").headers["ratelimit"]
    sandbox.advance(10)
    api.get("/api/models/me/lora")
    refused = api.get("/api/models/me/lora")
    assert (429, '"api";r=0;t=290') == (refused.status_code, refused.headers["ratelimit"])
    assert '"fixed window";"api";q=2;w=300' == refused.headers["ratelimit-policy"]
    assert 200 == api.get("/me/lora/resolve/main/a").status_code
    sandbox.advance(290)
    assert 200 == api.get("/api/models/me/lora").status_code


def test_a_permission_is_looked_at(sandbox, api):
    """Of a fine-grained token, and of a gate that the owner has opened for somebody."""
    repository = sandbox.hub.add("me/lora", {"a": b"a"}, gated="auto")
    friend = {"authorization": f"Bearer {sandbox.accounts.issue('friend')}"}
    refused = api.get("/me/lora/resolve/main/a", headers=friend)
    assert (403, "GatedRepo") == (refused.status_code, refused.headers["x-error-code"])
    repository.granted.add("friend")
    assert 200 == api.get("/me/lora/resolve/main/a", headers=friend).status_code
    for permissions, status in ((["repo.content.read"], 403), (["repo.write"], 200)):
        fine = {"authorization": f"Bearer {sandbox.accounts.issue('me', 'fineGrained', *permissions)}"}
        answer = api.post("/api/repos/create", json={"name": "fine"}, headers=fine)
        assert status == answer.status_code


def test_memory_does_not_follow_the_size(sandbox, api):
    """Content of 256 MiB goes in and out in less than 64 MiB."""
    resource = pytest.importorskip("resource")
    sandbox.hub.add("me/lora")
    block, count, digest = bytes(2**20), 256, hashlib.sha256()
    for _ in range(count):
        digest.update(block)
    wanted = {"oid": digest.hexdigest(), "size": count * len(block)}
    body = {"operation": "upload", "transfers": ["basic"], "objects": [wanted]}
    (found,) = api.post("/me/lora.git/info/lfs/objects/batch", json=body).json()["objects"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    put = httpx2.put(found["actions"]["upload"]["href"], content=(block for _ in range(count)), timeout=60)
    assert 200 == put.status_code
    assert 200 == commit(api, ("lfsFile", {"path": "a.bin", "algo": "sha256", **wanted})).status_code
    with httpx2.stream("GET", api.get("/me/lora/resolve/main/a.bin").headers["location"], timeout=60) as answer:
        assert wanted["size"] == sum(len(part) for part in answer.iter_bytes())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2 ** (
        20 if sys.platform == "darwin" else 10
    )


def test_a_plan_says_how_each_file_comes_and_what_is_there(sandbox, api):
    """By the patterns of the repository, the length and the first bytes; an empty file is always for git."""
    sandbox.hub.add("me/lora", {"a.txt": b"a", "a.bin": WEIGHTS})
    samples = {"a.txt": b"a", "a.bin": b"text", "b.bin": b"", "b.txt": b"\0", "big.txt": b"b", "c/d.gguf": b"d"}
    files = [
        {"path": path, "sample": base64.b64encode(sample).decode(), "size": 2**24 if "big" in path else len(sample)}
        for path, sample in samples.items()
    ]
    plans = api.post("/api/models/me/lora/preupload/main", json={"files": files}).json()["files"]
    modes = {plan["path"]: plan["uploadMode"] for plan in plans}
    assert {path: "regular" if path in ("a.txt", "b.bin") else "lfs" for path in samples} == modes
    there = {plan["path"]: plan["oid"] for plan in plans if "oid" in plan}
    assert {"a.txt": object_id("blob", b"a"), "a.bin": SHA256} == there
    sandbox.hub.put("me/lora", {".gitattributes": b"*.txt filter=lfs\n"})
    (plan,) = api.post("/api/models/me/lora/preupload/main", json={"files": files[:1]}).json()["files"]
    assert "lfs" == plan["uploadMode"]
