"""Uploads over the network that breaks, to a worker that dies."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket

import pytest

from peft_studio_worker.serving.inputs import BLOCK, InputStore, OffsetConflict, Progress

from .conftest import TOKEN, until

CONTENT = random.Random(5).randbytes(5 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATH = f"/v1/inputs/{DIGEST}"


def put(worker, offset=0, content=CONTENT, length=5 << 20, path=PATH):
    """Send what comes after `offset`."""
    return worker.ask("PUT", path, content[offset:], upload_offset=str(offset), upload_length=str(length))


def state(answer) -> tuple[int, str, str]:
    """Status, offset, completeness."""
    return answer.status, answer.headers["upload-offset"], answer.headers["upload-complete"]


def break_off(worker, size: int) -> None:
    """Send only the first bytes of the body, then hang up."""
    with socket.create_connection(("127.0.0.1", worker.port)) as connection:
        head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Length: {len(CONTENT)}\r\nUpload-Length: {len(CONTENT)}\r\n\r\n"
        connection.sendall(head.encode() + CONTENT[:size])


def test_goes_on_after_a_broken_connection_and_a_killed_worker(worker) -> None:
    """What arrived stays; the rest completes it, and it lies there under its digest."""
    break_off(worker, (3 << 20) + 17)
    until(lambda: int(worker.ask("HEAD", PATH).headers.get("upload-offset", "0")) >= 2 << 20)
    worker.kill()
    worker.start()
    size = int(worker.ask("HEAD", PATH).headers["upload-offset"])

    assert (200, str(size), "?0") == state(worker.ask("HEAD", PATH))
    assert (409, str(size), "?0") == state(put(worker, size + 1))
    assert (200, str(len(CONTENT)), "?1") == state(put(worker, size))
    assert (200, str(len(CONTENT)), "?1") == state(worker.ask("HEAD", PATH))
    assert (200, str(len(CONTENT)), "?1") == state(put(worker))
    assert [DIGEST] == [path.name for path in worker.folder.inputs.iterdir()]
    assert CONTENT == (worker.folder.inputs / DIGEST).read_bytes()


def test_a_hanging_upload_keeps_nobody_out(worker) -> None:
    """The client of a connection that says nothing more comes back on another."""
    with socket.create_connection(("127.0.0.1", worker.port)) as hanging:
        head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Length: {len(CONTENT)}\r\nUpload-Length: {len(CONTENT)}\r\n\r\n"
        hanging.sendall(head.encode() + CONTENT[: 1 << 20])
        offset = int(until(lambda: worker.ask("HEAD", PATH).headers.get("upload-offset")))

        assert (200, str(len(CONTENT)), "?1") == state(put(worker, offset))
    assert CONTENT == (worker.folder.inputs / DIGEST).read_bytes()


async def test_the_newest_upload_wins(tmp_path) -> None:
    """Bytes that an older upload brings later are not written any more, though they would fit."""
    store, late, early = InputStore(tmp_path), asyncio.Event(), asyncio.Event()

    async def old():
        early.set()
        await late.wait()
        yield CONTENT

    async def new():
        yield CONTENT[: BLOCK // 2]
        late.set()
        with pytest.raises(OffsetConflict, match="took over"):
            await older
        yield CONTENT[BLOCK // 2 :]

    older = asyncio.create_task(store.receive(DIGEST, 0, len(CONTENT), old()))
    await early.wait()

    assert Progress(len(CONTENT), is_complete=True) == await store.receive(DIGEST, 0, len(CONTENT), new())
    assert CONTENT == (tmp_path / DIGEST).read_bytes()


def test_wrong_bytes_are_refused(worker) -> None:
    """Another content, or more than was announced: 422 and nothing stays; an unknown one is 404."""
    assert 404 == worker.ask("HEAD", PATH).status
    assert 422 == put(worker, content=CONTENT[::-1]).status
    assert 404 == worker.ask("HEAD", PATH).status
    assert 422 == put(worker, length=100).status
    assert 404 == worker.ask("HEAD", PATH).status


def test_bad_headers(worker) -> None:
    """The size of the whole file must be known."""
    for headers in ({}, {"upload_length": "many"}, {"upload_length": "5", "upload_offset": "-1"}):
        answer = worker.ask("PUT", PATH, b"12345", **headers)
        assert 400 == answer.status
        assert answer.json["detail"].startswith("Upload-Length must be the size of the whole file")


def test_bad_names_and_too_large_files(worker) -> None:
    """A name that is no digest is not found; a file larger than the disk is refused before it is sent."""
    assert 404 == put(worker, path="/v1/inputs/..%2F..%2Fetc").status
    assert 404 == put(worker, path=f"/v1/inputs/{DIGEST.upper()}").status
    worker.upload(CONTENT)
    assert 404 == worker.ask("HEAD", "/v1/inputs/*").status
    assert (
        507 == put(worker, content=b"x", length=1 << 60, path=f"/v1/inputs/{hashlib.sha256(b'x').hexdigest()}").status
    )


def test_an_empty_file(worker) -> None:
    """It is complete at once."""
    path = f"/v1/inputs/{hashlib.sha256(b'').hexdigest()}"

    assert (200, "0", "?1") == state(worker.ask("PUT", path, b"", upload_length="0"))
