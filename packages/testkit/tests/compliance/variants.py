"""Variants: connectors that do it another way than the reference, and are as right. No check may fail them."""

from __future__ import annotations

from mutants import Mutant, body, edit
from mutants.feeding import FEEDS
from reference import Edit

_MACHINES = '        return [read(Machine, item) async for item in self._transport.pages("v1", "machines")]\n'
_MACHINE = '        return read(Machine, await self._transport.get("v1", "machines", machine_id))\n'
_HOURLY = "hourly_rate=machine.hourly_price,"
_SSE = "        return line_events(request, self.clock, _find(self.jobs, request), data=json_line)\n"
_EVENTS = (
    '        events = self._transport.events("v1", "jobs", job_id, "logs", missing=JobNotFound)\n'
    "        async with aclosing(events):\n"
    "            async for event in events:\n"
    '                if event.event == "end":\n'
    "                    return\n"
    "                yield read(LogLine, event.data).message\n"
    '        raise ConnectionFailed(f"the log of job {job_id} ended before the job did")\n'
)
_HOME = "        return await bring_home(files, destination, partial(self._api.download_job_file, job_id))\n"
_ROUTE = '            Route("/v1/jobs/{id}/files/{name:path}", self.job_file),\n'
_HANDLER = "    async def job_file(self, request: Request) -> Response:\n"


def _variant(how: str, *edits: Edit) -> Mutant:
    return Mutant(check="", fault=how, edits=edits)


VARIANTS = {
    "reference": _variant("The connector that all others are made of."),
    "static-catalogue": _variant(
        "The platform has no list of machines: it stands in the connector.",
        edit(
            "api.py",
            _MACHINES,
            body(
                'a100 = {"id": "a100", "name": "1x A100", "gpu": "A100", "gpu_count": 1}',
                'return [Machine(**a100, hourly_price="1.99", currency="USD")]',
            ),
        ),
        edit(
            "api.py",
            _MACHINE,
            body(
                "from peft_studio import PlatformError",
                "found = [machine for machine in await self.machines() if machine.id == machine_id]",
                "if not found:",
                '    raise PlatformError(f"there is no machine {machine_id}")',
                "return found[0]",
            ),
        ),
    ),
    "unknown-prices": _variant("The platform tells no prices.", edit("connector.py", _HOURLY, "hourly_rate=None,")),
    "polled-logs": _variant(
        "The log is no stream: it is asked for again and again.",
        edit(
            "sandbox.py",
            _SSE,
            body(
                "job = _find(self.jobs, request)",
                'after = int(request.query_params["after"])',
                "is_over = job.status.is_terminal",
                "lines = job.lines[after : after + 500]",
                'return JSONResponse({"lines": lines, "over": is_over and after + len(lines) == len(job.lines)})',
            ),
        ),
        edit(
            "api.py",
            _EVENTS,
            body(
                "import asyncio",
                "after, is_over = 0, False",
                "while not is_over:",
                '    place, query = ("v1", "jobs", job_id, "logs"), {"after": after}',
                "    answer = await self._transport.get(*place, query=query, missing=JobNotFound)",
                '    for line in answer["lines"]:',
                "        yield line",
                '    after, is_over = after + len(answer["lines"]), answer["over"]',
                '    if not answer["lines"] and not is_over:',
                "        await asyncio.sleep(0.02)",
            ),
        ),
    ),
    "fed-jobs": _variant("What a job needs is brought to it after the submission.", *FEEDS),
    "one-archive": _variant(
        "The artifact is one tar archive, whose checksum is in a header.",
        edit("sandbox.py", _ROUTE, '            Route("/v1/jobs/{id}/files/adapter.tar", self.job_archive),\n'),
        edit(
            "sandbox.py",
            _HANDLER,
            "    async def job_archive(self, request: Request) -> Response:\n"
            + body(
                "files = _find(self.jobs, request).files",
                "if not files:",
                '    raise HTTPException(404, "there is no adapter yet")',
                "place = self._stored(files.archive())",
                "answer = download(place)",
                'answer.headers["x-sha256"] = place.name',
                "return answer",
            )
            + f"\n{_HANDLER}",
        ),
        edit(
            "api.py",
            "    async def job_files(",
            "    async def download_archive(self, job_id: str, file: Path) -> None:\n"
            + body(
                'place = ("v1", "jobs", job_id, "files", "adapter.tar")',
                'await self._transport.download(*place, file=file, sha256_header="x-sha256")',
            )
            + "\n    async def job_files(",
        ),
        edit("connector.py", "        files = await self._api.job_files(job_id)\n", "        files = [job_id]\n"),
        edit(
            "connector.py",
            _HOME,
            body(
                "import tarfile, tempfile",
                "from peft_studio.artifacts import put_in_place, require_empty",
                "require_empty(destination)",
                'archive = destination.with_name(f".{destination.name}.tar")',
                "await self._api.download_archive(job_id, archive)",
                "try:",
                "    with tempfile.TemporaryDirectory(dir=archive.parent) as folder, tarfile.open(archive) as files:",
                '        files.extractall(Path(folder, "adapter"), filter="data")',
                '        put_in_place(Path(folder, "adapter"), destination)',
                "except tarfile.TarError:",
                '    raise ConnectionFailed("what came is no archive") from None',
                "finally:",
                "    archive.unlink()",
                "return destination",
            ),
        ),
    ),
}
