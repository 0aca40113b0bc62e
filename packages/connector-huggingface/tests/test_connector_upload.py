"""Uploads: private, in one commit, of what has changed alone, and with a card where there is none."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import psutil
import pytest

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
    RateLimitError,
)

WEIGHTS = bytes(range(256)) * 1024
RECORD = {
    "format": 1,
    "base_model": {"name": "acme/tiny", "source": "huggingface", "license": None},
    "config": {"algorithm": "lora", "rank": 8, "learning_rate": 0.0002},
    "steps": 40,
    "evaluations": [[10, 2.5], [20, 1.5], [40, 0.5]],
}


@pytest.fixture
def adapter(tmp_path):
    """An adapter folder without a card."""
    folder = tmp_path / "tiny-lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "peft_studio.json").write_text(json.dumps(RECORD), encoding="utf-8")
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    return folder


async def test_a_new_repository_is_private(sandbox, connector, adapter):
    """Under the user of the token and the name of the folder; the manifest stays here."""
    assert "me/tiny-lora" == await connector.upload_artifact(str(adapter), {})
    repository = sandbox.hub["me/tiny-lora"]
    assert repository.private
    assert {
        ".gitattributes",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "peft_studio.json",
    } == set(repository.head.files)
    assert WEIGHTS == sandbox.hub.read("me/tiny-lora", "adapter_model.safetensors")


async def test_the_metadata_say_where_and_how(sandbox, connector, adapter):
    """A public one of an organisation, with the message of the commit."""
    await connector.upload_artifact(str(adapter), {"repo_id": "acme/shown", "private": False, "message": "First"})
    repository = sandbox.hub["acme/shown"]
    assert (False, "First") == (repository.private, repository.head.title)


async def test_a_setting_says_whose_it_is(sandbox, connect, adapter):
    """A title becomes a name."""
    assert "acme/My-Grand-L-RA" == await (await connect(namespace="acme")).upload_artifact(
        str(adapter), {"name": "My Grand: LöRA!"}
    )


async def test_the_same_again_makes_no_commit(sandbox, connector, adapter):
    """Nor does it send a file."""
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    head, before = sandbox.hub["me/lora"].head.id, len(sandbox.requests)
    assert "me/lora" == await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert head == sandbox.hub["me/lora"].head.id
    assert {"GET"} == {request.method for request in sandbox.requests[before:]}


async def test_what_has_changed_is_one_commit(sandbox, connector, adapter):
    """The weights, which have not, are not sent again."""
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    first, before = sandbox.hub["me/lora"].head, len(sandbox.requests)
    (adapter / "adapter_config.json").write_text('{"r": 16}', encoding="utf-8")
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert first.id == sandbox.hub["me/lora"].head.parent
    assert b'{"r": 16}' == sandbox.hub.read("me/lora", "adapter_config.json")
    assert not any("/lfs/" in request.path for request in sandbox.requests[before:])


async def test_a_readme_is_never_overwritten(sandbox, connector, adapter):
    """Neither that of the folder by a card, nor that of the repository by the folder's."""
    (adapter / "README.md").write_text("# Mine\n", encoding="utf-8")
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert b"# Mine\n" == sandbox.hub.read("me/lora", "README.md")
    sandbox.hub.put("me/lora", {"README.md": b"# Edited there\n"})
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert (b"# Edited there\n", b"{}") == tuple(
        sandbox.hub.read("me/lora", path) for path in ("README.md", "adapter_config.json")
    )


async def test_a_card_tells_what_is_known(sandbox, connector, adapter):
    """The licence is that of the base model, which is asked for it; the Hub reads the header."""
    sandbox.hub.add("acme/tiny", {"README.md": b"---\nlicense: llama3.2\n---\n"})
    metadata = {"repo_id": "me/lora", "dataset": "acme/quotes", "metrics": {"accuracy": 0.75}}
    await connector.upload_artifact(str(adapter), metadata)
    card = sandbox.hub.read("me/lora", "README.md").decode()
    for line in ("| rank | 8 |", "| accuracy | 0.75 |", "| 40 | 0.5000 |", "* acme/quotes", "`llama3.2`"):
        assert line in card
    info = await connector.get_model_metadata("me/lora")
    assert ("acme/tiny", "llama3.2") == (info.base_model, info.license)
    assert {"peft", "lora", "dataset:acme/quotes", "base_model:adapter:acme/tiny"} <= set(info.tags)


async def test_private_is_kept_or_refused(sandbox, connector, adapter):
    """What is to be private does not get into what is public; without a wish the repository stays as it is."""
    sandbox.hub.add("me/lora")
    with pytest.raises(InvalidConfig, match="me/lora is public"):
        await connector.upload_artifact(str(adapter), {"repo_id": "me/lora", "private": True})
    assert [".gitattributes"] == list(sandbox.hub["me/lora"].head.files)
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert not sandbox.hub["me/lora"].private


async def test_a_branch_is_made_when_it_is_missing(sandbox, connector, adapter):
    """The main one stays as it was."""
    sandbox.hub.add("me/lora")
    main = sandbox.hub["me/lora"].head.id
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora", "revision": "next"})
    assert main == sandbox.hub["me/lora"].head.id
    assert WEIGHTS == sandbox.hub.read("me/lora", "adapter_model.safetensors", "next")


async def test_somebody_elses_commit_is_not_lost(sandbox, connector, adapter):
    """One that came in between makes the upload fail; the next one goes on top of it."""
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")

    def commit(received):
        if "/tree/" in received.path:
            sandbox.on_answer = None
            sandbox.hub.put("me/lora", {"note.txt": b"new"})

    sandbox.on_answer = commit
    with pytest.raises(PlatformError, match="A commit has happened since") as caught:
        await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert 412 == caught.value.http_status
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert (b"new", b"{}") == tuple(sandbox.hub.read("me/lora", path) for path in ("note.txt", "adapter_config.json"))


async def test_a_lost_answer_to_the_commit_is_found_out(sandbox, connector, adapter, monkeypatch):
    """It raises, as nobody knows; the same again finds everything there."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    sandbox.faults.add("reset_after", path="/commit/", times=None)
    with pytest.raises(ConnectionFailed):
        await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    sandbox.faults.clear()
    head = sandbox.hub["me/lora"].head
    assert "adapter_model.safetensors" in head.files
    await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert head.id == sandbox.hub["me/lora"].head.id


@pytest.mark.parametrize(
    ("path", "code", "kind"),
    [
        ("^/lfs/.", 403, PlatformError),
        ("/preupload/", 403, InvalidCredentials),
        ("/preupload/", 402, InsufficientCreditsError),
        ("/commit/", 429, RateLimitError),
        ("/commit/", 503, ConnectionFailed),
        ("/commit/", 400, PlatformError),
    ],
)
async def test_a_refusal_is_what_it_means(sandbox, connector, adapter, monkeypatch, path, code, kind):
    """In the platform's words; that of the storage says nothing of the token, which it never saw."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    body = {"error": f"the moon is full, {sandbox.key}"}
    sandbox.faults.add("status", path=path, code=code, body=body, headers={"retry-after": "7"}, times=None)
    with pytest.raises(PeftStudioError) as caught:
        await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})
    assert (kind, code) == (type(caught.value), caught.value.http_status)
    assert "the moon is full, ***" in caught.value.why
    assert (7 if kind is RateLimitError else None) == getattr(caught.value, "retry_after", None)


async def test_a_cancelled_upload_ends(sandbox, connector, adapter):
    """With its process, and the connection of that: nothing is committed behind the user's back."""
    sandbox.faults.add("timeout", path="/preupload/", times=None)
    upload = asyncio.ensure_future(connector.upload_artifact(str(adapter), {"repo_id": "me/lora"}))
    while not (sandbox.count("POST", "/preupload/") or upload.done()):  # noqa: ASYNC110 -- another process has no event
        await asyncio.sleep(0.01)
    upload.cancel()
    await asyncio.wait([upload])
    assert upload.cancelled()
    await connector.disconnect()
    async with asyncio.timeout(30):
        while sandbox.open_connections:  # noqa: ASYNC110 -- nor has the server
            await asyncio.sleep(0.01)
    assert [".gitattributes"] == list(sandbox.hub["me/lora"].head.files)


async def test_a_killed_upload_may_be_repeated(sandbox, connector, adapter):
    """Nobody has refused it; so the queue tries it again."""
    sandbox.faults.add("timeout", path="/preupload/", times=1)
    upload = asyncio.ensure_future(connector.upload_artifact(str(adapter), {"repo_id": "me/lora"}))
    while not (sandbox.count("POST", "/preupload/") or upload.done()):  # noqa: ASYNC110 -- as above
        await asyncio.sleep(0.01)
    (program,) = [each for each in psutil.Process().children() if "hub_commit" in " ".join(each.cmdline())]
    program.kill()
    with pytest.raises(ConnectionFailed, match="got signal 9"):
        await upload
    assert "me/lora" == await connector.upload_artifact(str(adapter), {"repo_id": "me/lora"})


def test_huggingface_hub_is_not_loaded_here():
    """It would stay in memory, with settings that were read long before."""
    code = (
        "import sys, peft_studio_huggingface.connector; print(sorted({'huggingface_hub', 'hf_xet'} & {*sys.modules}))"
    )
    known = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == known.stdout.strip()


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"repo_id": "me/a b"}, "is no id of a repository"),
        ({"private": "yes"}, "private must be true or false"),
        ({"revision": 1.0, "license": ["mit"]}, r"revision must be a text, not 1\.0; license must be a text"),
        ({"name": "世界"}, "is no name for a repository"),
    ],
)
async def test_bad_metadata_are_one_sentence(sandbox, connector, adapter, metadata, sentence):
    """Nothing is created."""
    with pytest.raises(InvalidConfig, match=sentence):
        await connector.upload_artifact(str(adapter), metadata)
    assert [] == list(sandbox.hub)
