"""Download one file: streamed, resumed by range, verified."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import ParamSpec, TypeVar

from attrs import evolve, frozen

from peft_studio._transport.answers import AnswerReader, is_success
from peft_studio._transport.errors import AskAgain, ErrorMaker, pause
from peft_studio._transport.file_wire import FileAnswer
from peft_studio._transport.part import PartFile, Version
from peft_studio._transport.redirects import Navigator
from peft_studio._transport.requests import Request, merged
from peft_studio._transport.wire import Answer
from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError, PlatformError
from peft_studio.transfers import listener

_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", re.IGNORECASE)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@frozen
class Wanted:
    """The file that a caller asks for."""

    request: Request
    missing: type[PeftStudioError]
    #: Bytes.
    size: int | None
    #: In hex.
    sha256: str | None
    #: The header that tells it.
    sha256_header: str | None

    @property
    def source(self) -> str:
        """Digest of the address, which may hold a secret."""
        return hashlib.sha256(self.request.url.encode()).hexdigest()


class Download:
    """One file on its way. Between attempts, and between calls, what has arrived stays in the part."""

    def __init__(
        self, navigator: Navigator, reader: AnswerReader, make_error: ErrorMaker, wanted: Wanted, file: Path
    ) -> None:
        self._navigator = navigator
        self._reader = reader
        self._make_error = make_error
        self._wanted = wanted
        self._part = PartFile(file)
        self._version = Version(wanted.source)
        self._sha256 = wanted.sha256
        self._tell = listener()

    async def run(self, retries: int) -> Path:
        """The whole file, verified, in its place. Gives up after `retries` attempts that brought nothing new."""
        try:
            await self._go_on_with_earlier_part()
            await self._fetch(retries)
            self._verify()
            await _in_thread(self._part.finish)
        finally:
            if self._part.size == 0:
                self._part.discard()
            self._part.close()
        return self._part.file

    async def _go_on_with_earlier_part(self) -> None:
        """Where a validator or the sha256 will tell whether the rest belongs to it."""
        version = await _in_thread(self._part.open, self._wanted.source)
        if version is not None and (version.validator or self._wanted.sha256):
            self._version = version
        else:
            self._part.discard()

    async def _fetch(self, retries: int) -> None:
        fruitless, most = 0, self._part.size
        while True:
            try:
                await self._attempt()
                return
            except AskAgain as failure:
                last = failure
            if self._part.size > most:
                fruitless, most = 0, self._part.size
            if fruitless >= retries:
                break
            await asyncio.sleep(pause(fruitless, last.wait))
            fruitless += 1
        raise last.error

    async def _attempt(self) -> None:
        async with self._navigator.answer(self._request(), may_leave=True) as answer:
            self._note_sha256(answer)
            if self._is_complete_already(answer):
                return
            await self._begin(answer)
            await self._receive(answer)
        expected = self._version.size
        if expected is not None and self._part.size < expected:
            raise self._ask_again(f"it ended after {self._part.size} of {expected} bytes")

    def _request(self) -> Request:
        headers = {"accept": "*/*", "accept-encoding": "identity"}  # a range counts bytes as they are sent
        if self._part.size:
            headers["range"] = f"bytes={self._part.size}-"
            if self._version.validator:
                headers["if-range"] = self._version.validator
        return evolve(self._wanted.request, headers=merged(self._wanted.request.headers, headers))

    def _is_complete_already(self, answer: Answer) -> bool:
        """True when the platform has nothing to add to the part."""
        if answer.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not self._part.size:
            return False
        version = self._version_of(answer)
        if version.size == self._part.size and self._version.may_be(version):
            return True
        self._part.discard()
        raise self._ask_again("the part that had arrived belongs to another file")

    async def _begin(self, answer: Answer) -> None:
        """Take the answer as the rest of the part, or as the whole file anew."""
        if not is_success(answer):
            is_ours = answer.request.origin == self._wanted.request.origin
            await self._reader.refuse(answer, self._wanted.missing, is_ours=is_ours)
        await self._require_file(answer)
        version = self._version_of(answer)
        self._require_size(version.size)
        start = 0 if answer.status == HTTPStatus.OK else _start_of(answer)
        if start == 0:
            await _in_thread(self._part.restart, version)
            self._version = version
        elif start != self._part.size or not self._version.may_be(version):
            self._part.discard()
            raise self._ask_again("the file has changed meanwhile")

    async def _require_file(self, answer: Answer) -> None:
        is_page = answer.content_type == "text/html" and self._part.file.suffix not in (".html", ".htm")
        if is_page or answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise self._reader.unexpected(answer, "the file", await self._reader.body(answer))
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise self._make_error(ConnectionFailed, f"{answer.request} sent the file compressed, unasked")

    async def _receive(self, answer: Answer) -> None:
        """Add the body to the part, also what came before it broke off; little more of it than there should be."""
        limit = min((size for size in (self._wanted.size, self._version.size) if size is not None), default=math.inf)
        assert isinstance(answer, FileAnswer)
        await answer.pour(self._take, limit - self._part.size)
        if self._part.size > limit:
            raise self._damaged(f"it has more than {limit} bytes")

    def _take(self, block: memoryview) -> None:
        self._part.append(block)
        self._tell(len(block))

    def _verify(self) -> None:
        self._require_size(self._part.size)
        if self._sha256 is None and self._wanted.sha256_header is not None:
            raise self._damaged(f"the platform did not tell its sha256 in the header {self._wanted.sha256_header}")
        if self._sha256 is not None and self._sha256 != self._part.sha256:
            raise self._damaged(f"its sha256 is {self._part.sha256} instead of {self._sha256}")

    def _require_size(self, size: int | None) -> None:
        """Refuse a file of another length than the caller has named."""
        expected = self._wanted.size
        if size is None or expected is None or size == expected:
            return
        difference = f"{size} bytes instead of {expected}"
        if size > expected:
            raise self._damaged(f"it has {difference}")
        self._part.discard()
        raise self._make_error(ConnectionFailed, f"{self._wanted.request} brought {difference}")

    def _damaged(self, why: str) -> PeftStudioError:
        self._part.discard()
        what = f"{self._part.file.name} from {self._wanted.request.origin} is damaged"
        remedy = "download it again; when it stays damaged, tell the platform"
        return self._make_error(PlatformError, what, why=why, remedy=remedy)

    def _ask_again(self, why: str) -> AskAgain:
        return AskAgain(self._make_error(ConnectionFailed, f"{self._wanted.request} broke off", why=why))

    def _version_of(self, answer: Answer) -> Version:
        headers = answer.headers
        return Version(self._wanted.source, headers.get("etag"), headers.get("last-modified"), _size_of(answer))

    def _note_sha256(self, answer: Answer) -> None:
        """Storage often does not know the platform's digest, but the redirect that leads there does."""
        if self._wanted.sha256 is not None or self._wanted.sha256_header is None:
            return
        for told in (answer, *answer.earlier):
            if found := _SHA256.search(told.headers.get(self._wanted.sha256_header, "")):
                self._sha256 = found[0].lower()


def checked_sha256(sha256: str | None) -> str | None:
    """In lower case. Raises `InvalidConfig` when it is none."""
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InvalidConfig(f"{sha256!r} is no sha256", why="one has 64 hexadecimal digits")
    return sha256 and sha256.lower()


def _start_of(answer: Answer) -> int | None:
    """First byte of the range that the answer holds."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[1]) if found and found[1] else None


def _size_of(answer: Answer) -> int | None:
    """Length of the whole file, where the answer tells it."""
    if answer.status == HTTPStatus.OK:
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[2]) if found and found[2] != "*" else None


async def _in_thread(
    work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Work on the disk away from the event loop. When it is cancelled, nobody closes a file that is written to."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(running)
    finally:
        if not running.done():
            await asyncio.wait([running])
