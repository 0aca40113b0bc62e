"""Connectors that lose lines, repeat them, or do not know when a log ends."""

from __future__ import annotations

from mutants import Mutant, edit, mutant

_INIT = "        self._connection: AcmeApi | None = None\n"
_YIELD = "                yield read(LogLine, event.data).message\n"
_END = '                if event.event == "end":\n                    return\n'
_STREAM = (
    "        async with aclosing(self._api.log_lines(job_id)) as lines:\n"
    "            async for line in lines:\n"
    "                yield line\n"
)
_EVENTS = '        events = self._transport.events("v1", "jobs", job_id, "logs", missing=JobNotFound)\n'
_ENDED_EARLY = '        raise ConnectionFailed(f"the log of job {job_id} ended before the job did")\n'

#: The whole of log_lines below its docstring.
_LOOP = "        async with aclosing(events):\n            async for event in events:\n"
_LOG_LINES = f"{_EVENTS}{_LOOP}{_END}{_YIELD}{_ENDED_EARLY}"

#: A second transport, on which nothing is repeated, so that what is done about a lost connection is the mutant's.
_OWN_TRANSPORT = (
    edit(
        "connector.py",
        "        try:\n            await api.account()\n        except BaseException:\n",
        '        headers = {"Authorization": f"Bearer {key}"}\n'
        "        api.once = Transport(address, headers=headers, secrets=[key], retries=0)\n"
        "        try:\n            await api.account()\n        except BaseException:\n",
    ),
    edit(
        "api.py",
        "        await self._transport.close()\n",
        "        await self._transport.close()\n        await self.once.close()\n",
    ),
)


def _line(check: str, fault: str, code: str, **more: object) -> Mutant:
    """Something else than the line as it came."""
    return mutant(check, fault, edit("api.py", _YIELD, code), **more)


def _streams(check: str, fault: str, *lines: str) -> Mutant:
    """Another stream_logs."""
    return mutant(check, fault, edit("connector.py", _STREAM, "".join(f"        {line}\n" for line in lines)))


def _follows(check: str, fault: str, *lost: str, **more: object) -> Mutant:
    """A log that is followed by hand: `lost` is what is done when the connection is lost, in a loop."""
    body = "".join(f"                {line}\n" for line in lost)
    code = (
        "        last, cuts = None, 0\n"
        "        while True:\n"
        "            try:\n"
        '                place = ("v1", "jobs", job_id, "logs")\n'
        "                events = self.once.events(*place, missing=JobNotFound, last_event_id=last)\n"
        "                async with aclosing(events):\n"
        "                    async for event in events:\n"
        '                        if event.event == "end":\n'
        "                            return\n"
        "                        last = event.id\n"
        "                        yield read(LogLine, event.data).message\n"
        "            except ConnectionFailed as error:\n"
        "                cuts += 1\n"
        "                if 'broke off' not in str(error) and 'silence' not in str(error):\n"
        "                    raise\n"
        f"{body}"
    )
    return mutant(check, fault, *_OWN_TRANSPORT, edit("api.py", _LOG_LINES, code), **more)


_EVENT_METHOD = (
    "    async def stream_events(self, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent]:\n"
    "        number = FIRST\n"
    "        async with aclosing(self._api.log_lines(job_id)) as lines:\n"
    "            async for line in lines:\n"
    "                number += 1\n"
    "                if number > AFTER:\n"
    "                    now = datetime.now(UTC)\n"
    '                    yield JobEvent(sequence=number, time=now, type="log", data={"message": line})\n\n'
    "    async def download_artifact("
)


def _events(check: str, fault: str, first: str, after: str) -> Mutant:
    """The log as events too."""
    method = _EVENT_METHOD.replace("FIRST", first).replace("AFTER", after)
    return mutant(
        check,
        fault,
        edit("connector.py", "    async def download_artifact(", method),
        edit("connector.py", "    JobStatus,\n", "    JobEvent,\n    JobStatus,\n"),
    )


MUTANTS = (
    _line(
        "logs-are-lines",
        "Each line keeps its line break.",
        _YIELD.replace(".message", '.message + "\\n"'),
        ruins="no line of any log is as it was",
    ),
    _line(
        "logs-are-complete",
        "Lines that seem of no interest are left out.",
        '                if read(LogLine, event.data).message.startswith("saving"):\n                    continue\n'
        + _YIELD,
    ),
    _streams(
        "logs-end-with-the-job",
        "Who follows a job from before its start waits for ever.",
        'is_queued = (await self._api.job(job_id)).status == "QUEUED"',
        *_STREAM.replace("        async with", "async with").rstrip().split("\n        "),
        "if is_queued:",
        "    await asyncio.Event().wait()",
    ),
    _streams(
        "logs-do-not-end-early",
        "When there is nothing new for a moment the log of a running job ends.",
        'is_running = (await self._api.job(job_id)).status == "RUNNING"',
        "async with aclosing(self._api.log_lines(job_id)) as lines:",
        "    while True:",
        "        try:",
        "            yield await asyncio.wait_for(anext(lines), 0.2 if is_running else None)",
        "        except (StopAsyncIteration, TimeoutError):",
        "            return",
    ),
    mutant(
        "logs-of-a-failed-job",
        "The log of a job that failed ends in an error.",
        edit(
            "api.py",
            _END,
            '                if event.event == "end" and event.data == "failed":\n'
            '                    raise ConnectionFailed("the job failed")\n' + _END,
        ),
    ),
    mutant(
        "logs-of-a-cancelled-job",
        "Only a job that went to its end ends its log.",
        edit("api.py", _END, _END.replace('"end":', '"end" and event.data != "cancelled":')),
        edit("api.py", _YIELD, '                if event.event != "end":\n    ' + _YIELD),
    ),
    mutant(
        "logs-of-an-unknown-job",
        "A job that is not known is like any other refusal.",
        edit("api.py", _EVENTS, _EVENTS.replace(", missing=JobNotFound", "")),
    ),
    _line("logs-keep-unicode", "Blanks around a line are stripped.", _YIELD.replace(".message", ".message.strip()")),
    _line(
        "logs-keep-long-lines", "A line ends after 10,000 characters.", _YIELD.replace(".message", ".message[:10_000]")
    ),
    mutant(
        "logs-of-many-lines",
        "A log has a thousand lines.",
        edit(
            "connector.py",
            _STREAM,
            _STREAM.replace("        async with", "        count = 0\n        async with").replace(
                "                yield line\n",
                "                count += 1\n                if count <= 1000:\n                    yield line\n",
            ),
        ),
    ),
    mutant(
        "logs-of-a-silent-job",
        "A log without lines is an error.",
        edit(
            "connector.py",
            _STREAM,
            "        line = None\n"
            + _STREAM
            + '        if line is None:\n            raise PlatformError("there is no log")\n',
        ),
    ),
    _follows(
        "logs-survive-a-cut",
        "After a cut the log begins again.",
        "if 'silence' not in str(error):",
        "    last = None",
        also={"logs-survive-many-cuts": "one cut is too many"},
    ),
    _follows(
        "logs-survive-many-cuts",
        "Three cuts are all that is borne.",
        "if cuts == 3:",
        "    raise",
    ),
    _follows(
        "logs-survive-silence",
        "A connection that is silent is an error.",
        "if 'silence' in str(error):",
        "    raise",
    ),
    _streams(
        "lost-logs-are-an-error",
        "What could be had of the log is the log.",
        "line = None",
        "try:",
        *(f"    {line}" for line in _STREAM.replace("        async with", "async with").rstrip().split("\n        ")),
        "except ConnectionFailed:",
        "    if line is None:",
        "        raise",
    ),
    _streams(
        "refused-logs-are-an-error",
        "A log that cannot be had is empty.",
        "line = None",
        "try:",
        *(f"    {line}" for line in _STREAM.replace("        async with", "async with").rstrip().split("\n        ")),
        "except ConnectionFailed:",
        "    if line is not None:",
        "        raise",
    ),
    _streams(
        "reader-may-leave",
        "A task reads ahead, and nobody stops it.",
        "queue: Any = asyncio.Queue()",
        "",
        "async def read_ahead() -> None:",
        "    try:",
        "        async for line in self._api.log_lines(job_id):",
        "            queue.put_nowait(line)",
        "        queue.put_nowait(None)",
        "    except Exception as error:",
        "        queue.put_nowait(error)",
        "",
        "self._task = asyncio.create_task(read_ahead())",
        "while (item := await queue.get()) is not None:",
        "    if isinstance(item, Exception):",
        "        raise item",
        "    yield item",
    ),
    mutant(
        "two-readers",
        "A log can be read by one at a time.",
        edit("connector.py", _INIT, f"{_INIT}        self._read: set[str] = set()\n"),
        edit(
            "connector.py",
            _STREAM,
            '        if job_id in self._read:\n            raise PlatformError("somebody reads this log")\n'
            "        self._read.add(job_id)\n        try:\n"
            + "".join(f"    {line}\n" for line in _STREAM.splitlines())
            + "        finally:\n            self._read.discard(job_id)\n",
        ),
    ),
    _events("events-are-numbered", "The numbers begin at 0.", "-1", "after - 1"),
    _events("events-go-on-after", "The event that one has comes again.", "0", "after - 1"),
)
