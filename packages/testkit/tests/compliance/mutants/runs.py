"""Trackers that read back other runs than were meant."""

from __future__ import annotations

from mutants import edit, mutant

_LISTED = "[run for run in runs if status in (None, run.status) and _mentions(run, search)][:limit]"
_QUERY = '        query = {} if project is None else {"project": project}\n'

MUTANTS = (
    mutant(
        "runs-are-listed-newest-first",
        "The oldest run comes first.",
        edit("connector.py", _LISTED, _LISTED.replace("in runs if", "in runs[::-1] if")),
    ),
    mutant(
        "every-page-of-runs-is-listed",
        "The first page is the whole list.",
        edit(
            "api.py",
            '[read(RunRecord, item) async for item in self._transport.pages("v1", "runs", query=query)]',
            '[read(RunRecord, i) for i in (await self._transport.get("v1", "runs", query=query))["items"]]',
        ),
    ),
    mutant(
        "limit-keeps-the-first-runs",
        "A limit is a wish.",
        edit("connector.py", _LISTED, _LISTED.replace("[:limit]", "")),
    ),
    mutant(
        "search-finds-a-run",
        "Capital letters are others.",
        edit("connector.py", "text.lower() in", "text in"),
    ),
    mutant(
        "runs-are-listed-by-status",
        "Runs of every status are told.",
        edit("connector.py", _LISTED, _LISTED.replace("status in (None, run.status) and ", "")),
    ),
    mutant("runs-are-listed-by-project", "Projects are all the same.", edit("api.py", _QUERY, "        query = {}\n")),
    mutant(
        "run-is-described", "The summary is left out.", edit("connector.py", "summary=record.summary,", "summary=None,")
    ),
    mutant(
        "unknown-run-is-not-described",
        "A run that is not there is a refusal like others.",
        edit(
            "api.py",
            'self._transport.get("v1", "runs", run_id, missing=JobNotFound)',
            'self._transport.get("v1", "runs", run_id)',
        ),
    ),
)
