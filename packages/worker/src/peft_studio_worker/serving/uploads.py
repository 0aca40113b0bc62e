"""The addresses of inputs: what is there, and more of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from peft_studio_worker.serving.inputs import DIGEST, InputStore, NoRoom, OffsetConflict, Progress, WrongContent
from peft_studio_worker.serving.problems import problem
from peft_studio_worker.serving.visits import Visits


class Uploads:
    """`/v1/inputs/{sha256}`. Of a body that is refused the rest is read and dropped, so that the client hears why."""

    def __init__(self, store: InputStore, visits: Visits) -> None:
        self._store = store
        self._visits = visits

    async def head(self, request: Request) -> Response:
        """How much of a file is there."""
        digest = request.path_params["sha256"]
        progress = await asyncio.to_thread(self._store.progress, digest) if DIGEST.fullmatch(digest) else None
        return Response(status_code=404) if progress is None else Response(headers=_headers(progress))

    async def put(self, request: Request) -> Response:
        """Append to a file."""
        digest = request.path_params["sha256"]
        if not DIGEST.fullmatch(digest):
            return problem(404, "an input is named by its sha256 in lower-case hex")
        offset, length = (
            request.headers.get(name, usual) for name, usual in (("upload-offset", "0"), ("upload-length", ""))
        )
        if not (offset.isdecimal() and length.isdecimal()):
            return problem(400, "Upload-Length must be the size of the whole file, Upload-Offset where the body starts")
        try:
            progress = await self._store.receive(digest, int(offset), int(length), self._body(request))
        except OffsetConflict as error:
            there = await asyncio.to_thread(self._store.progress, digest)
            return problem(409, str(error), _headers(there or Progress(0, is_complete=False)))
        except WrongContent as error:
            return problem(422, str(error))
        except NoRoom as error:
            return problem(507, f"the disk of the machine has no room: {error}")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return JSONResponse({"offset": progress.offset, "complete": progress.is_complete}, headers=_headers(progress))

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            self._visits.note_input()
            yield chunk


def _headers(progress: Progress) -> dict[str, str]:
    return {"upload-offset": str(progress.offset), "upload-complete": "?1" if progress.is_complete else "?0"}
