"""Uploads: streamed from disk, sent once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import ConnectionFailed, InvalidConfig, JobNotFound, Transport

CONTENT = os.urandom(1_000_000)


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform."""
    async with Transport(server.url, timeout=7, retries=2) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of several blocks."""
    path = tmp_path / "adapter.bin"
    path.write_bytes(CONTENT)
    return path


async def test_file_is_sent_with_its_length(server: Any, transport: Transport, file: Path) -> None:
    """And answered with JSON."""
    server.steps = [server.reply(201, {"id": "f1"})]

    assert {"id": "f1"} == await transport.upload("files", "adapter.bin", file=file, query={"overwrite": True})
    (request,) = server.requests
    assert ("PUT", "/files/adapter.bin?overwrite=true") == (request.method, request.target)
    assert CONTENT == request.body
    assert ("1000000", "application/octet-stream") == (
        request.headers["content-length"],
        request.headers["content-type"],
    )
    assert "transfer-encoding" not in request.headers


async def test_method_kind_and_errors_are_the_callers(server: Any, transport: Transport, file: Path) -> None:
    """As storage of other platforms wants it."""
    server.steps = [server.reply(200), server.reply(404)]

    options: dict[str, Any] = {"method": "POST", "headers": {"Content-Type": "application/x-tar"}}
    assert None is await transport.upload("files", file=file, may_be_empty=True, **options)
    with pytest.raises(JobNotFound):
        await transport.upload("files", file=file, missing=JobNotFound)

    assert ("POST", "application/x-tar") == (server.requests[0].method, server.requests[0].headers["content-type"])


async def test_stream_is_sent_as_it_comes(server: Any, transport: Transport) -> None:
    """In chunks, as nobody knows its length."""
    server.steps = [server.reply(body={})]

    async def stream() -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two"

    await transport.upload("files", file=stream())

    assert b"one,two" == server.requests[0].body


async def test_upload_is_sent_once(server: Any, transport: Transport, file: Path) -> None:
    """Unless its author says that it may be sent again."""
    server.steps = [None, None, server.reply(body={})]

    with pytest.raises(ConnectionFailed):
        await transport.upload("files", file=file)
    assert 1 == len(server.requests)
    assert {} == await transport.upload("files", file=file, idempotent=True)
    assert [CONTENT] * 3 == [request.body for request in server.requests]


async def test_stream_is_sent_once_even_when_idempotent(server: Any, transport: Transport) -> None:
    """It has been read and is gone."""
    server.steps = [None, server.reply(body={})]

    async def stream() -> AsyncIterator[bytes]:
        yield b"once"

    with pytest.raises(ConnectionFailed):
        await transport.upload("files", file=stream(), idempotent=True)

    assert 1 == len(server.requests)


@pytest.mark.parametrize("name", ["missing", "."])
async def test_file_that_cannot_be_read_is_named(server: Any, transport: Transport, tmp_path: Path, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidConfig, match=f"{tmp_path / name} cannot be read: (No such file|Is a directory)"):
        await transport.upload("files", file=tmp_path / name)

    assert [] == server.requests


async def test_file_that_shrinks_is_named(server: Any, transport: Transport, file: Path) -> None:
    """It is the file's fault, not the platform's; the connection is closed."""
    server.steps = [server.reply(body={})]
    uploading = asyncio.create_task(transport.upload("files", file=file))
    await asyncio.sleep(0)  # it has been measured
    os.truncate(file, 10)

    with pytest.raises(InvalidConfig, match="became shorter while it was sent"):
        await uploading

    assert [] == server.requests
    await server.until_closed()


async def test_file_that_grows_is_sent_as_it_was(server: Any, transport: Transport, file: Path) -> None:
    """As long as it was when the request began."""
    server.steps = [server.reply(body={})]
    uploading = asyncio.create_task(transport.upload("files", file=file))
    await asyncio.sleep(0)  # it has been measured
    with file.open("ab") as growing:
        growing.write(b"more")

    assert {} == await uploading
    assert CONTENT == server.requests[0].body
