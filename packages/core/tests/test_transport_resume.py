"""Downloads that go on after a lost connection, or in a later call, with the same file and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    InvalidConfig,
    Transport,
)

from .storage import CONTENT, SHA256, Storage

TOKEN = "sk-canary-0123456789"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform that sends two kinds of keys."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": TOKEN}
    async with Transport(server.url, headers=headers, secrets=[TOKEN], timeout=1, retries=2) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the download goes; its folders do not exist yet."""
    return tmp_path / "a" / "b" / "adapter.bin"


def left(file: Path) -> list[str]:
    """What is in the folder."""
    return sorted(path.name for path in file.parent.glob("*"))


async def interrupted(server: Any, file: Path, storage: Storage, **options: Any) -> None:
    """A first call that ends after 100,000 bytes."""
    server.requests.clear()
    server.steps = [storage, None]
    storage.cuts = [100_000]
    async with Transport(server.url, retries=0) as transport:
        with pytest.raises(ConnectionFailed):
            await transport.download("file", file=file, **options)
    assert 100_000 == file.with_name("adapter.bin.part").stat().st_size
    server.requests.clear()
    server.steps = [storage]


@pytest.mark.parametrize(
    ("storage", "if_range"),
    [
        (Storage(), '"v1"'),
        (Storage(etag=None, last_modified="Wed, 21 Oct 2015 07:28:00 GMT"), "Wed, 21 Oct 2015 07:28:00 GMT"),
        (Storage(etag='W/"v1"'), None),
        (Storage(etag=None), None),
    ],
)
async def test_lost_connection_is_gone_on_with(
    server: Any, transport: Transport, file: Path, storage: Storage, if_range: str | None
) -> None:
    """From the byte that is missing, many times, as long as something arrives."""
    storage.cuts = [50_000, 60_000, 1, 70_000]
    server.steps = [storage]

    await transport.download("file", file=file, sha256=SHA256)

    assert CONTENT == file.read_bytes()
    ranges = [request.headers.get("range") for request in server.requests]
    assert [None, "bytes=50000-", "bytes=110000-", "bytes=110001-", "bytes=180001-"] == ranges
    assert {if_range} == {request.headers.get("if-range") for request in server.requests[1:]}


async def test_silence_is_a_lost_connection(server: Any, transport: Transport, file: Path) -> None:
    """Half-open: nothing comes, nothing ends."""

    async def half(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {len(CONTENT)}\r\n\r\n'.encode() + CONTENT[:9])
        await asyncio.Event().wait()

    server.steps = [half, Storage()]

    await transport.download("file", file=file, sha256=SHA256)

    assert "bytes=9-" == server.requests[1].headers["range"]


async def test_file_that_changes_meanwhile_starts_afresh(server: Any, transport: Transport, file: Path) -> None:
    """The platform answers the range with the whole new file."""
    new = Storage(content=CONTENT[::-1], etag='"v2"')
    server.steps = [Storage(cuts=[50_000]), new]

    await transport.download("file", file=file)

    assert new.content == file.read_bytes()


@pytest.mark.parametrize(
    "new",
    [
        Storage(content=CONTENT[::-1], etag='"v2"', checks_if_range=False),
        Storage(content=CONTENT[::-1] + b"more", etag=None, checks_if_range=False),
        Storage(content=CONTENT[:40_000], etag='"v1"', checks_if_range=False),
    ],
    ids=["etag", "longer", "shorter"],
)
async def test_range_of_another_file_is_not_used(server: Any, transport: Transport, file: Path, new: Storage) -> None:
    """From a platform that ignores If-Range, the ETag or the size tells."""
    server.steps = [Storage(cuts=[50_000]), new]

    await transport.download("file", file=file)

    assert new.content == file.read_bytes()
    assert 3 == len(server.requests)


async def test_range_from_another_byte_is_not_used(server: Any, transport: Transport, file: Path) -> None:
    """What does not fit the part is not added to it."""

    async def shifted(request: Any, writer: asyncio.StreamWriter) -> None:
        body = CONTENT[10:]
        size = len(CONTENT)
        head = (
            f"HTTP/1.1 206 Partial\r\nContent-Range: bytes 10-{size - 1}/{size}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)

    server.steps = [Storage(cuts=[50_000]), shifted, Storage()]

    await transport.download("file", file=file)

    assert CONTENT == file.read_bytes()


async def test_platform_without_ranges_sends_it_again(server: Any, transport: Transport, file: Path) -> None:
    """From the beginning, and no endless number of times."""
    storage = Storage(knows_ranges=False, cuts=[50_000, 60_000, 70_000])
    server.steps = [storage]
    await transport.download("file", file=file)
    assert CONTENT == file.read_bytes()

    server.requests.clear()
    storage.cuts = [50_000] * 99
    with pytest.raises(ConnectionFailed, match="broke off"):
        await transport.download("file", file=file)
    assert 3 == len(server.requests)


async def test_fruitless_attempts_end(server: Any, transport: Transport, file: Path) -> None:
    """What has arrived stays for the next call."""
    server.steps = [Storage(cuts=[50_000]), None]

    with pytest.raises(ConnectionFailed, match="got no answer"):
        await transport.download("file", file=file)

    assert 3 == len(server.requests)
    assert ["adapter.bin.part", "adapter.bin.part.json"] == left(file)


@pytest.mark.parametrize("storage", [Storage(), Storage(etag=None, last_modified="Wed, 21 Oct 2015 07:28:00 GMT")])
async def test_next_call_goes_on(server: Any, transport: Transport, file: Path, storage: Storage) -> None:
    """Also in another process: the note beside the part tells which version it belongs to."""
    await interrupted(server, file, storage)

    await transport.download("file", file=file, sha256=SHA256)

    assert CONTENT == file.read_bytes()
    assert ["bytes=100000-"] == [request.headers["range"] for request in server.requests]
    assert ["adapter.bin"] == left(file)


async def test_part_without_validator_is_used_when_the_sha256_will_tell(
    server: Any, transport: Transport, file: Path
) -> None:
    """Otherwise it might belong to another version."""
    await interrupted(server, file, Storage(etag=None))
    await transport.download("file", file=file, sha256=SHA256)
    assert "range" in server.requests[0].headers

    await interrupted(server, file, Storage(etag=None))
    await transport.download("file", file=file)
    assert "range" not in server.requests[0].headers
    assert CONTENT == file.read_bytes()


@pytest.mark.parametrize("damage", ["no note", "half a note", "other address"])
async def test_part_of_unknown_origin_is_not_used(server: Any, transport: Transport, file: Path, damage: str) -> None:
    """Without a readable note, or with one of another address, the download starts afresh."""
    await interrupted(server, file, Storage())
    note = file.with_name("adapter.bin.part.json")
    if damage == "no note":
        note.unlink()
    elif damage == "half a note":
        note.write_text('{"source": "')

    await transport.download("other" if damage == "other address" else "file", file=file)

    assert "range" not in server.requests[0].headers
    assert CONTENT == file.read_bytes()


async def test_note_holds_no_secret(server: Any, file: Path) -> None:
    """The address may have one in its query."""
    await interrupted(server, file, Storage(), query={"token": TOKEN})

    assert TOKEN not in file.with_name("adapter.bin.part.json").read_text()


async def test_part_that_is_complete_needs_no_more(server: Any, transport: Transport, file: Path) -> None:
    """The platform has no byte to add: what is there is verified and moved."""
    await interrupted(server, file, Storage())
    file.with_name("adapter.bin.part").write_bytes(CONTENT)

    await transport.download("file", file=file, sha256=SHA256)

    assert CONTENT == file.read_bytes()
    assert 1 == len(server.requests)


async def test_part_longer_than_the_file_is_thrown_away(server: Any, transport: Transport, file: Path) -> None:
    """Somebody else has written to it."""
    await interrupted(server, file, Storage())
    file.with_name("adapter.bin.part").write_bytes(CONTENT * 2)

    await transport.download("file", file=file)

    assert CONTENT == file.read_bytes()


@pytest.mark.parametrize("arrived", [0, 100_000])
async def test_second_download_to_one_place_is_refused(server: Any, file: Path, arrived: int) -> None:
    """And harms neither what has arrived nor what still comes, whether or not the first began with a part."""
    if arrived:
        await interrupted(server, file, Storage())
    may_end = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        kind = (
            f"206 Partial\r\nContent-Range: bytes {arrived}-{len(CONTENT) - 1}/{len(CONTENT)}" if arrived else "200 OK"
        )
        head = f'HTTP/1.1 {kind}\r\nETag: "v1"\r\nContent-Length: {len(CONTENT) - arrived}\r\n\r\n'
        writer.write(head.encode() + CONTENT[arrived : arrived + 9])
        await writer.drain()
        await may_end.wait()
        writer.write(CONTENT[arrived + 9 :])

    server.steps = [slow, Storage()]
    async with Transport(server.url, timeout=30) as first, Transport(server.url) as second:
        task = asyncio.create_task(first.download("file", file=file, sha256=SHA256))
        part = file.with_name("adapter.bin.part")
        while not (server.requests and part.exists()):  # noqa: ASYNC110 -- a folder sends no event
            await asyncio.sleep(0.001)
        with pytest.raises(InvalidConfig, match=f"{file} is being downloaded already"):
            await second.download("file", file=file, sha256=SHA256)
        may_end.set()
        await task

    assert (CONTENT, ["adapter.bin"]) == (file.read_bytes(), left(file))
