"""Downloads: streamed, verified, and under their final name only when they are whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    PeftStudioError,
    PlatformError,
    Transport,
)

from .storage import CONTENT, SHA256, Storage

TOKEN = "sk-canary-0123456789"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform that sends two kinds of keys."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": TOKEN}
    async with Transport(server.url, headers=headers, secrets=[TOKEN], timeout=7, retries=2) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the download goes; its folders do not exist yet."""
    return tmp_path / "a" / "b" / "adapter.bin"


def left(file: Path) -> list[str]:
    """What is in the folder."""
    return sorted(path.name for path in file.parent.glob("*"))


async def test_file_arrives_whole(server: Any, transport: Transport, file: Path) -> None:
    """Verified, alone in its folder, uncompressed on the way."""
    server.steps = [Storage()]

    assert file == await transport.download("jobs", "7", "file", file=file, sha256=SHA256.upper(), size=len(CONTENT))
    assert CONTENT == file.read_bytes()
    assert ["adapter.bin"] == left(file)
    (request,) = server.requests
    assert ("/jobs/7/file", "identity") == (request.target, request.headers["accept-encoding"])


@pytest.mark.parametrize("storage", [Storage(content=b""), Storage(tells_length=False), Storage(etag=None)])
async def test_file_of_any_kind_arrives(server: Any, transport: Transport, file: Path, storage: Storage) -> None:
    """Empty, of untold length, without an ETag."""
    server.steps = [storage]

    await transport.download("file", file=file)

    assert storage.content == file.read_bytes()
    assert ["adapter.bin"] == left(file)


async def test_former_file_is_replaced(server: Any, transport: Transport, file: Path) -> None:
    """Only by a whole one."""
    file.parent.mkdir(parents=True)
    file.write_bytes(b"former")
    server.steps = [server.reply(404), Storage()]

    with pytest.raises(ArtifactNotFound):
        await transport.download("file", file=file)
    assert b"former" == file.read_bytes()
    await transport.download("file", file=file)
    assert CONTENT == file.read_bytes()


# Verification.


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_flipped_byte_is_found(server: Any, transport: Transport, file: Path, is_resumed: bool) -> None:
    """Expected and actual sha256 are told; neither file nor part remains."""
    damaged = CONTENT[:-1] + b"!"
    server.steps = [Storage(content=damaged, cuts=[50_000] if is_resumed else [])]

    with pytest.raises(PlatformError, match=r"adapter\.bin from \S+ is damaged") as caught:
        await transport.download("file", file=file, sha256=SHA256)

    assert f"its sha256 is {hashlib.sha256(damaged).hexdigest()} instead of {SHA256}" == caught.value.why
    assert [] == left(file)


@pytest.mark.parametrize("tells_length", [True, False])
async def test_short_file_is_found(server: Any, transport: Transport, file: Path, tells_length: bool) -> None:
    """The caller knows its size."""
    server.steps = [Storage(tells_length=tells_length)]

    with pytest.raises(ConnectionFailed, match=f"brought {len(CONTENT)} bytes instead of {len(CONTENT) + 1}"):
        await transport.download("file", file=file, size=len(CONTENT) + 1)

    assert [] == left(file)


@pytest.mark.parametrize("tells_length", [True, False])
async def test_long_file_is_found(server: Any, transport: Transport, file: Path, tells_length: bool) -> None:
    """It is not downloaded to its end, which may never come."""
    server.steps = [Storage(tells_length=tells_length)]

    with pytest.raises(PlatformError, match=r"is damaged: it has (\d+ bytes instead of|more than) 7"):
        await transport.download("file", file=file, size=7)

    assert [] == left(file)


async def test_endless_file_is_not_read_to_its_end(server: Any, transport: Transport, file: Path) -> None:
    """It would fill the disk."""

    async def endless(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()

    server.steps = [endless]

    async with asyncio.timeout(10):
        with pytest.raises(PlatformError, match="it has more than 1000 bytes"):
            await transport.download("file", file=file, size=1000)

    assert [] == left(file)


async def test_answer_without_a_byte_leaves_nothing(server: Any, transport: Transport, file: Path) -> None:
    """A part of no bytes helps nobody."""
    server.steps = [Storage(cuts=[0, 0, 0])]

    with pytest.raises(ConnectionFailed, match="broke off"):
        await transport.download("file", file=file)

    assert [] == left(file)


@pytest.mark.parametrize("value", [SHA256, f"sha256:{SHA256.upper()}", f'"{SHA256}"'])
async def test_header_may_tell_the_sha256(server: Any, transport: Transport, file: Path, value: str) -> None:
    """In hex, however it is wrapped."""
    server.steps = [Storage(headers={"X-Sha256": value})]
    await transport.download("file", file=file, sha256_header="x-sha256")
    assert CONTENT == file.read_bytes()

    server.steps = [Storage(content=CONTENT[1:], headers={"X-Sha256": value})]
    with pytest.raises(PlatformError, match=f"instead of {SHA256}"):
        await transport.download("file", file=file, sha256_header="x-sha256")
    assert CONTENT == file.read_bytes()


async def test_header_that_does_not_come_is_missed(server: Any, transport: Transport, file: Path) -> None:
    """What was to be verified is not taken unverified."""
    server.steps = [Storage()]

    with pytest.raises(PlatformError, match="did not tell its sha256 in the header X-Sha256"):
        await transport.download("file", file=file, sha256_header="X-Sha256")

    assert [] == left(file)


async def test_sha256_that_is_none_is_refused(transport: Transport, file: Path) -> None:
    """Before anything is asked."""
    with pytest.raises(InvalidConfig, match="'abc' is no sha256"):
        await transport.download("file", file=file, sha256="abc")


# Answers that are no file.


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            {"status": 200, "body": b"<title>Sign in</title>", "kind": "text/html"},
            ConnectionFailed,
            "not with the file: .*Sign in",
        ),
        ({"status": 202, "body": {"status": "packing"}}, ConnectionFailed, "answered 202, but not with the file"),
        ({"status": 200, "body": b"x", "Content_Encoding": "gzip"}, ConnectionFailed, "compressed, unasked"),
        ({"status": 404, "body": {"detail": "not yet"}}, ArtifactNotFound, "not yet"),
        ({"status": 401}, InvalidCredentials, "answered 401"),
        ({"status": 416}, PlatformError, "answered 416"),
        ({"status": 500}, ConnectionFailed, "answered 500"),
    ],
)
async def test_refused_download_leaves_nothing(
    server: Any, transport: Transport, file: Path, answer: dict[str, Any], kind: type[PeftStudioError], words: str
) -> None:
    """Neither a file, nor a part, nor its folder."""
    server.steps = [server.reply(**answer)]

    with pytest.raises(kind, match=words):
        await transport.download("file", file=file)

    assert not file.parent.exists()


async def test_page_may_be_the_file(server: Any, transport: Transport, file: Path) -> None:
    """When its name says so."""
    server.steps = [server.reply(200, b"<title>Report</title>", kind="text/html")]

    assert b"<title>Report</title>" == (await transport.download("file", file=file.with_suffix(".html"))).read_bytes()


async def test_missing_file_may_be_another_error(server: Any, transport: Transport, file: Path) -> None:
    """As the caller says."""
    server.steps = [server.reply(404)]

    with pytest.raises(JobNotFound):
        await transport.download("file", file=file, missing=JobNotFound)


# Redirects.


async def test_storage_elsewhere_sees_nothing_of_ours(
    server: Any, elsewhere: Any, transport: Transport, file: Path
) -> None:
    """No token, no key, no header of the call; every attempt asks the platform for the way first."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/bucket/file?signature=x", Set_Cookie="a=b")]
    elsewhere.steps = [Storage(cuts=[50_000])]

    await transport.download("file", file=file, sha256=SHA256, headers={"X-Team": "blue"})

    assert CONTENT == file.read_bytes()
    assert "blue" == server.requests[1].headers["x-team"]
    assert 2 == len(server.requests) == len(elsewhere.requests)
    allowed = {"host", "accept", "accept-encoding", "connection", "user-agent", "range", "if-range"}
    assert allowed >= {name for request in elsewhere.requests for name in request.headers}
    assert "bytes=50000-" == elsewhere.requests[1].headers["range"]


async def test_way_back_carries_no_key_either(server: Any, elsewhere: Any, transport: Transport, file: Path) -> None:
    """What has left the origin stays without."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/a"), Storage()]
    elsewhere.steps = [server.reply(302, Location=f"{server.url}/b")]

    await transport.download("file", file=file)

    assert "authorization" not in server.requests[1].headers


async def test_redirect_may_tell_the_sha256(server: Any, elsewhere: Any, transport: Transport, file: Path) -> None:
    """Storage does not know it."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/file", X_Linked_Etag=f'"{SHA256}"')]
    elsewhere.steps = [Storage(content=CONTENT[1:])]

    with pytest.raises(PlatformError, match=f"instead of {SHA256}"):
        await transport.download("file", file=file, sha256_header="x-linked-etag")


async def test_refusal_of_storage_says_nothing_of_the_credentials(
    server: Any, elsewhere: Any, transport: Transport, file: Path
) -> None:
    """An address that has expired is no wrong key."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/file")]
    elsewhere.steps = [server.reply(403, b"<Error>expired</Error>", kind="application/xml")]

    with pytest.raises(PlatformError, match="expired"):
        await transport.download("file", file=file)


# The disk.


@pytest.mark.parametrize("place", ["folder", "file in the way"])
async def test_place_that_cannot_be_written_is_named(
    server: Any, transport: Transport, tmp_path: Path, place: str
) -> None:
    """With its path and the reason."""
    server.steps = [Storage()]
    (tmp_path / "way").write_text("in the way")
    file, reason = (
        (tmp_path, "Is a directory") if place == "folder" else (tmp_path / "way" / "file", "exists|directory")
    )

    with pytest.raises(InvalidConfig, match=f"{file} cannot be written: .*({reason})"):
        await transport.download("file", file=file)


async def test_full_disk_is_named(server: Any, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk."""
    server.steps = [Storage(content=b"x" * 3_000_000)]
    program = f"""
import asyncio, pathlib, resource
from peft_studio import InvalidConfig, Transport
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
try:
    asyncio.run(Transport({server.url!r}).download("file", file=pathlib.Path({str(tmp_path / "big")!r})))
except InvalidConfig as error:
    print(error)
"""
    assert f"{tmp_path / 'big'} cannot be written: File too large\n" == await printed(program)
    assert not (tmp_path / "big").exists()


async def test_part_that_somebody_else_writes_to_is_found_out(server: Any, transport: Transport, file: Path) -> None:
    """By its size: what two have written is no file."""

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await writer.drain()
        while "adapter.bin.part" not in left(file):  # noqa: ASYNC110 -- a folder sends no event
            await asyncio.sleep(0.001)
        with file.with_name("adapter.bin.part").open("ab") as other:
            other.write(b"another program")
        writer.write(b"half")

    server.steps = [slow]

    with pytest.raises(InvalidConfig, match="was changed by another program"):
        await transport.download("file", file=file)

    assert not file.exists()


async def test_memory_stays_small(server: Any, tmp_path: Path) -> None:
    """200 MB pass through less than 32 MiB, also when half of them are there already."""
    size, block = 200_000_000, bytes(1_000_000)

    async def big(request: Any, writer: asyncio.StreamWriter) -> None:
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        kind = f"206 Partial\r\nContent-Range: bytes {start}-{size - 1}/{size}" if start else "200 OK"
        writer.write(f'HTTP/1.1 {kind}\r\nETag: "v1"\r\nContent-Length: {size - start}\r\n\r\n'.encode())
        end = size if start else size // 2
        for _ in range(start, end, len(block)):
            writer.write(block)
            await writer.drain()
        if not start:
            await asyncio.sleep(0.02)
            raise ConnectionResetError

    server.steps = [big]
    digest = hashlib.sha256(bytes(size)).hexdigest()
    program = f"""
import asyncio, json, pathlib, resource
from peft_studio import Transport
async def main():
    async with Transport({server.url!r}) as transport:
        file = pathlib.Path({str(tmp_path / "big")!r})
        small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await transport.download("file", file=file, sha256={digest!r})
        return file.stat().st_size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small
print(json.dumps(asyncio.run(main())))
"""
    arrived, growth = json.loads(await printed(program))
    assert size == arrived
    assert growth < 32 * 1024  # KiB


async def test_cancelled_download_leaves_no_connection(server: Any, transport: Transport, file: Path) -> None:
    """And a part that the next call goes on with."""
    arrived = asyncio.Event()

    async def half(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {len(CONTENT)}\r\n\r\n'.encode() + CONTENT[:9])
        await writer.drain()
        arrived.set()
        await asyncio.Event().wait()

    server.steps = [half, Storage()]
    async with Transport(server.url, timeout=30) as patient:
        task = asyncio.create_task(patient.download("file", file=file))
        await arrived.wait()
        while not left(file):  # noqa: ASYNC110 -- a folder sends no event
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until_closed()

    await transport.download("file", file=file, sha256=SHA256)
    assert CONTENT == file.read_bytes()


async def printed(program: str) -> str:
    """What a program prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert 0 == process.returncode
    return output.decode()
