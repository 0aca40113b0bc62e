"""An artifact comes home from its machine: read once where that is enough, and never believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import InvalidConfig, PlatformError
from peft_studio.artifacts import Manifest, verify, write_manifest
from peft_studio.rented import Worker

FILES = {"adapter.bin": b"weights" * 50_000, "nested/card.md": b"card"}


@pytest.fixture
def artifact(tmp_path: Path) -> Manifest:
    """As it lies on the machine."""
    for name, content in FILES.items():
        file = tmp_path / "machine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return write_manifest(tmp_path / "machine")


@pytest.fixture
async def worker(server: Any, artifact: Manifest) -> AsyncIterator[Worker]:
    """The machine's worker, as its client sees it; `server.served` may be changed."""
    served = {f"/v1/artifact/{name}": content for name, content in FILES.items()}
    served["/v1/artifact"] = artifact.to_json().encode()

    async def answer(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(server.reply(body=served[request.path]))
        await writer.drain()

    server.steps = [answer]
    async with Worker(server.url, "token-of-this-job-alone-0123456789") as opened:
        opened.served = served  # type: ignore[attr-defined]
        yield opened


def arriving(artifact: Manifest, tmp_path: Path) -> Path:
    """Where the files of a call that was interrupted wait."""
    return tmp_path / f".adapter-{artifact.sha256[:16]}"


async def test_artifact_comes_home(worker: Worker, artifact: Manifest, tmp_path: Path) -> None:
    """Whole, and nothing beside it."""
    assert artifact == await worker.download(tmp_path / "adapter")
    assert artifact == verify(tmp_path / "adapter")
    assert not arriving(artifact, tmp_path).exists()


async def test_what_an_earlier_call_has_left_is_not_asked_for_again(
    server: Any, worker: Worker, artifact: Manifest, tmp_path: Path
) -> None:
    """When it is right."""
    arriving(artifact, tmp_path).mkdir()
    (arriving(artifact, tmp_path) / "adapter.bin").write_bytes(FILES["adapter.bin"])

    await worker.download(tmp_path / "adapter")

    assert ["/v1/artifact", "/v1/artifact/nested/card.md"] == [request.path for request in server.requests]
    assert artifact == verify(tmp_path / "adapter")


@pytest.mark.parametrize("name", list(FILES))
async def test_what_an_earlier_call_has_left_is_read_in_full(
    worker: Worker, artifact: Manifest, tmp_path: Path, name: str
) -> None:
    """A flipped byte of it is found, and the next call brings it anew."""
    left = arriving(artifact, tmp_path) / name
    left.parent.mkdir(parents=True)
    left.write_bytes(FILES[name][:-1] + b"?")

    with pytest.raises(InvalidConfig, match=f"{name} has another sha256"):
        await worker.download(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()

    await worker.download(tmp_path / "adapter")
    assert artifact == verify(tmp_path / "adapter")


async def test_file_too_much_is_found(worker: Worker, artifact: Manifest, tmp_path: Path) -> None:
    """Though nothing of it came now."""
    arriving(artifact, tmp_path).mkdir()
    (arriving(artifact, tmp_path) / "surplus").write_bytes(b"x")

    with pytest.raises(InvalidConfig, match=r"surplus is not in its manifest\.json"):
        await worker.download(tmp_path / "adapter")


async def test_flipped_byte_is_found_on_its_way(worker: Worker, tmp_path: Path) -> None:
    """Where nothing is read a second time."""
    worker.served["/v1/artifact/adapter.bin"] = FILES["adapter.bin"][:-1] + b"?"  # type: ignore[attr-defined]

    with pytest.raises(PlatformError, match="is damaged: its sha256"):
        await worker.download(tmp_path / "adapter")

    assert not (tmp_path / "adapter").exists()
