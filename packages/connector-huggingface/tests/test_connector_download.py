"""Downloads: pinned, verified in git's way and in LFS's, gone on with in another run, and without pickles."""

from __future__ import annotations

import hashlib

import pytest

from peft_studio import ArtifactNotFound, ConnectionFailed, InvalidConfig, PlatformError
from peft_studio.artifacts import verify

WEIGHTS = bytes(range(256)) * 4096
FILES = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": WEIGHTS, "nested/tokenizer.json": b"{}"}


def contents(folder):
    """Every file by its name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_download_is_an_artifact(sandbox, connector, tmp_path):
    """With a manifest that is true, without what is the Hub's own, and without a trace beside it."""
    sandbox.hub.add("me/lora", FILES, private=True)
    folder = await connector.download_model("me/lora", tmp_path / "here" / "model")
    assert set(FILES) | {"manifest.json"} == set(contents(folder))
    assert {entry.path: entry.sha256 for entry in verify(folder).files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    assert [folder] == list(folder.parent.iterdir())


async def test_a_revision_is_pinned(sandbox, connector, tmp_path):
    """What was committed since does not come, even when it happens in the middle."""
    sandbox.hub.add("me/lora", FILES)
    first = sandbox.hub["me/lora"].head.id
    sandbox.hub.put("me/lora", {"adapter_config.json": b'{"r": 16}'})
    for id, rank in ((f"me/lora@{first}", b'{"r": 8}'), ("me/lora@main", b'{"r": 16}')):
        folder = await connector.download_model(id, tmp_path / rank.hex())
        assert rank == (folder / "adapter_config.json").read_bytes()
    with pytest.raises(ArtifactNotFound):
        await connector.download_model("me/lora@no-such-tag", tmp_path / "nothing")


async def test_a_download_goes_on_in_another_run(sandbox, connect, tmp_path, monkeypatch):
    """Another connector asks for the rest, and for nothing that is there."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    sandbox.hub.add("me/lora", FILES)
    sandbox.faults.add("drop_after", path="/lfs/.", times=1, bytes=600_000)
    with pytest.raises(ConnectionFailed):
        await (await connect()).download_model("me/lora", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    before = len(sandbox.requests)
    await (await connect()).download_model("me/lora", tmp_path / "model")
    assert WEIGHTS == (tmp_path / "model" / "adapter_model.safetensors").read_bytes()
    asked = [request for request in sandbox.requests[before:] if "/resolve/" in request.path or "/lfs/" in request.path]
    (storage,) = [request for request in asked if "/lfs/" in request.path]
    start = int(storage.headers["range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= 600_000
    assert not any(request.path.endswith("adapter_config.json") for request in asked)


async def test_a_file_of_git_is_verified_too(sandbox, connector, tmp_path):
    """By git's own sha1; one that is damaged is not kept."""
    sandbox.hub.add("me/lora", FILES)
    sandbox.faults.add("corrupt", path="/resolve/.*/nested/tokenizer.json", times=1)
    with pytest.raises(PlatformError, match=r"nested/tokenizer.json is damaged"):
        await connector.download_model("me/lora", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert (
        FILES["nested/tokenizer.json"]
        == ((await connector.download_model("me/lora", tmp_path / "model")) / "nested" / "tokenizer.json").read_bytes()
    )


async def test_pickles_stay_where_they_are(sandbox, connect, tmp_path):
    """Unless they are asked for; the same files in safetensors come."""
    pickles = {"pytorch_model.bin": b"\x80", "training_args.bin": b"\x80", "optimizer.pt": b"\x80"}
    sandbox.hub.add("me/lora", {**FILES, **pickles})
    plain = await (await connect()).download_model("me/lora", tmp_path / "plain")
    assert not set(pickles) & set(contents(plain))
    every = await (await connect(weights="all")).download_model("me/lora", tmp_path / "every")
    assert set(pickles) <= set(contents(every))


async def test_a_repository_of_pickles_alone_is_refused(sandbox, connector, tmp_path):
    """With the way to have them all the same."""
    sandbox.hub.add("me/old", {"config.json": b"{}", "pytorch_model.bin": b"\x80"})
    with pytest.raises(InvalidConfig, match=r"no weights in safetensors: there is pytorch_model.bin") as caught:
        await connector.download_model("me/old", tmp_path / "model")
    assert "set weights to all" in caught.value.remedy


async def test_a_manifest_of_the_repository_is_not_taken_for_ours(sandbox, connector, tmp_path):
    """It may describe something else."""
    sandbox.hub.add("me/lora", {**FILES, "manifest.json": b'{"format": 1, "files": []}'})
    folder = await connector.download_model("me/lora", tmp_path / "model")
    assert set(FILES) == {entry.path for entry in verify(folder).files}


async def test_the_storage_hears_nothing_of_the_token(sandbox, connector, tmp_path):
    """It lies on another origin."""
    sandbox.hub.add("me/lora", FILES, private=True)
    await connector.download_model("me/lora", tmp_path / "model")
    storage = [request for request in sandbox.requests if request.path.startswith("/lfs/")]
    assert storage
    assert not any("authorization" in request.headers for request in storage)


async def test_a_large_repository_comes_whole(sandbox, connector, tmp_path):
    """Its list of files has pages."""
    many = {f"part-{number:03}.txt": str(number).encode() for number in range(45)}
    sandbox.hub.add("me/many", many)
    folder = await connector.download_model("me/many", tmp_path / "model")
    assert many == {name: content for name, content in contents(folder).items() if name != "manifest.json"}
