"""What the import of the plugin module costs: every command of every user pays it."""

from __future__ import annotations

import sys

from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import expect
from peft_studio_testkit.compliance.imports import PROCESSES, SOCKETS, WRITES
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__)

#: Known HTTP libraries by their import names.
_HTTP = {
    "httpx",
    "httpx2",
    "aiohttp",
    "requests",
    "urllib3",
    "httpcore",
    "httpcore2",
    "websockets",
    "tornado",
    "niquests",
}
#: What those bring: the check that names them has said it.
_BROUGHT = {
    "aiohappyeyeballs",
    "aiosignal",
    "anyio",
    "backports",
    "certifi",
    "chardet",
    "charset_normalizer",
    "frozenlist",
    "h11",
    "h2",
    "hpack",
    "hyperframe",
    "idna",
    "multidict",
    "propcache",
    "sniffio",
    "truststore",
    "typing_extensions",
    "yarl",
}
#: What core itself brings: a plugin may use it.
_CORE = {
    "attr",
    "attrs",
    "click",
    "importlib_metadata",
    "lazy_importer",
    "packaging",
    "platformdirs",
    "pluggy",
    "yaml",
    "zipp",
}
_ALLOWED = _CORE | {"peft_studio", "_yaml"}


@check()
async def import_works(subject: Subject) -> None:
    """The plugin module can be imported alone, in a fresh process."""
    expect(subject.imported.error is None, f"the import failed: {subject.imported.error}")


@check()
async def import_prints_nothing(subject: Subject) -> None:
    """The import writes nothing to stdout or stderr: it would spoil the output of every command."""
    printed = "" if subject.imported.error else subject.imported.printed.strip()
    expect(not printed, f"the import printed {printed[:200]!r}")


@check()
async def import_opens_no_socket(subject: Subject) -> None:
    """The import asks no network: no connection, no name looked up."""
    _none("opened a socket", subject.imported.did(SOCKETS))


@check()
async def import_starts_no_process(subject: Subject) -> None:
    """The import starts no other program."""
    _none("started a process", subject.imported.did(PROCESSES))


@check()
async def import_starts_no_thread(subject: Subject) -> None:
    """The import leaves no thread running."""
    expect(not subject.imported.threads, f"the import left {subject.imported.threads} thread(s) running")


@check()
async def import_writes_no_file(subject: Subject) -> None:
    """The import writes, moves and deletes nothing on the disk."""
    _none("changed files", subject.imported.did(WRITES))


@check()
async def import_changes_no_environment(subject: Subject) -> None:
    """The import leaves the environment variables of the host as they are."""
    _none("changed environment variables", list(subject.imported.environment))


@check()
async def import_changes_no_handlers(subject: Subject) -> None:
    """The import leaves the host's root logger and signal handlers as they are."""
    expect(not subject.imported.handlers, "the import changed handlers of the root logger or of signals")


@check()
async def import_loads_no_http_library(subject: Subject) -> None:
    """The import loads no HTTP library: it costs a tenth of a second; import it where it is used."""
    _none("loaded", sorted(_HTTP & set(subject.imported.modules)))


@check()
async def import_loads_no_sdk(subject: Subject) -> None:
    """The import loads no other package than core, what core brings, and its own."""
    own = {((subject.record and subject.record.entry_point) or "").partition(".")[0]}
    http = _HTTP & set(subject.imported.modules)
    others = set(subject.imported.modules) - sys.stdlib_module_names - _ALLOWED - own - (http and _HTTP | _BROUGHT)
    _none("loaded", sorted(name for name in others if not name.startswith("_")))


def _none(did: str, what: list[str]) -> None:
    expect(not what, f"the import {did}: {', '.join(what[:5])}")
