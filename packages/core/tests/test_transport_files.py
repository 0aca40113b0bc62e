"""The connections of downloads: long bodies past the HTTP library, and nobody who waits for what was given up."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from peft_studio import ConnectionFailed, PlatformError, Transport

from .storage import Storage

#: Several blocks, none of which looks like another, and a piece.
LONG = random.Random(7).randbytes(5_000_001)
SHA256 = hashlib.sha256(LONG).hexdigest()
LEAF = Path(__file__).with_name("leaf.pem")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the download goes."""
    return tmp_path / "adapter.bin"


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def chunked(request: Any, writer: asyncio.StreamWriter) -> None:
    """Without a length."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(LONG), 99_999):
        piece = LONG[start : start + 99_999]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    writer.write(b"0\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("step", [Storage(LONG), Storage(LONG, tells_length=False), chunked])
async def test_long_file_arrives_byte_for_byte(server: Any, file: Path, step: Any) -> None:
    """However its length is told."""
    server.steps = [step]
    async with Transport(server.url) as transport:
        await transport.download("file", file=file, sha256=SHA256)

    assert LONG == file.read_bytes()


async def test_long_file_arrives_from_a_pinned_machine(own_server: Any, file: Path) -> None:
    """Decrypted, also after a cut."""
    own_server.steps = [Storage(LONG, cuts=[3_000_001])]
    async with Transport(own_server.url, certificate=LEAF.read_text()) as transport:
        await transport.download("file", file=file, sha256=SHA256)

    assert LONG == file.read_bytes()
    assert "bytes=3000001-" == own_server.requests[1].headers["range"]


async def test_other_machine_is_not_downloaded_from(own_server: Any, file: Path) -> None:
    """The usual authorities have not signed it."""
    own_server.steps = [Storage(LONG)]
    async with Transport(own_server.url, retries=0) as transport:
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            await transport.download("file", file=file)

    assert [] == own_server.requests


@pytest.mark.parametrize("cut", [70_000, 2**21, 4_999_999])
async def test_what_came_before_a_cut_is_kept(server: Any, file: Path, cut: int) -> None:
    """To the last byte."""
    server.steps = [Storage(LONG, cuts=[cut])]
    async with Transport(server.url) as transport:
        await transport.download("file", file=file, sha256=SHA256)

    assert LONG == file.read_bytes()
    assert [None, f"bytes={cut}-"] == [request.headers.get("range") for request in server.requests]


async def test_silence_in_a_long_file_is_told(server: Any, file: Path) -> None:
    """In seconds; what has come waits for the next call."""

    async def silent(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {len(LONG)}\r\n\r\n'.encode() + LONG[:100_000])
        await writer.drain()
        await asyncio.Event().wait()

    server.steps = [silent]
    async with Transport(server.url, timeout=0.2, retries=0) as transport:
        with pytest.raises(ConnectionFailed, match=r"silence for 0\.2 s"):
            await transport.download("file", file=file)

    assert LONG[:100_000] == file.with_name("adapter.bin.part").read_bytes()


async def test_reset_in_a_long_file_is_told(server: Any, file: Path) -> None:
    """In the words of the system."""

    async def reset(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(LONG)}\r\n\r\n".encode() + LONG[:100_000])
        await writer.drain()
        await asyncio.sleep(0.02)  # let the client read what a reset would discard
        server.reset(writer)

    server.steps = [reset]
    async with Transport(server.url, retries=0) as transport:
        with pytest.raises(ConnectionFailed, match="Connection reset by peer"):
            await transport.download("file", file=file)


async def test_flipped_byte_in_a_long_file_is_found(server: Any, file: Path) -> None:
    """It is hashed on its way."""
    server.steps = [Storage(LONG[:-1] + b"?")]
    async with Transport(server.url) as transport:
        with pytest.raises(PlatformError, match=f"instead of {SHA256}"):
            await transport.download("file", file=file, sha256=SHA256)

    assert [] == list(file.parent.glob("adapter*"))


async def test_short_files_share_a_connection(server: Any, tmp_path: Path) -> None:
    """One after the other."""
    server.steps = [Storage(b"short")]
    async with Transport(server.url) as transport:
        for name in "abc":
            await transport.download(name, file=tmp_path / name)
        assert 1 == server.open_connections


async def test_cancelled_wait_for_the_head_ends_at_once(server: Any, file: Path) -> None:
    """Nobody waits for an answer that is not wanted any more, and no thread remains."""
    server.steps = [hang]
    async with Transport(server.url, timeout=30) as transport:
        task = asyncio.create_task(transport.download("file", file=file))
        await server.was_asked.wait()
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task
        await server.until_closed()

    for thread in [each for each in threading.enumerate() if each.name.startswith("peft-studio-file")]:
        thread.join(10)
        assert not thread.is_alive()


async def test_close_ends_downloads(server: Any, file: Path) -> None:
    """And is the reason that is told."""
    server.steps = [hang]
    transport = Transport(server.url, timeout=30)
    task = asyncio.create_task(transport.download("file", file=file))
    await server.was_asked.wait()

    await transport.close()

    with pytest.raises(ConnectionFailed, match="is closed"):
        await task
    await server.until_closed()
