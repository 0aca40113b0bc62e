"""What importing a plugin module does, seen in a process of its own through Python's audit events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from attrs import frozen

#: Runs in the fresh process. What core itself needs is imported first, so that only the plugin's own doing is seen.
_WATCH = """
import importlib, json, logging, os, signal, sys, threading
import peft_studio, peft_studio.hookspecs, peft_studio.connector, peft_studio.transport, pluggy
module, paths, kinds = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
sys.path[:0] = paths
importlib.invalidate_caches()
seen = []
modules, threads, variables = set(sys.modules), threading.active_count(), dict(os.environ)
handlers = (list(logging.getLogger().handlers), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
def watch(event, arguments):
    if event in kinds:
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if isinstance(arguments[0], int) or "__pycache__" in str(arguments[0]):
            return  # bytecode, which Python itself writes; what has a descriptor was opened by name before
        seen.append([event, repr(arguments[0])[:200]])
sys.addaudithook(watch)
importlib.import_module(module)
after = (list(logging.getLogger().handlers), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
kinds = []
facts = {
    "modules": sorted({name.partition(".")[0] for name in set(sys.modules) - modules}),
    "events": seen,
    "threads": threading.active_count() - threads,
    "environment": sorted(k for k in {*variables, *os.environ} if variables.get(k) != os.environ.get(k)),
    "handlers": after != handlers,
}
os.write(int(sys.argv[4]), json.dumps(facts).encode())
"""

SOCKETS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname")
PROCESSES = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec")
WRITES = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree")


@frozen
class ImportFacts:
    """What one import did."""

    #: Top-level modules that were not loaded before.
    modules: tuple[str, ...]
    #: Audit events with what they were about.
    events: tuple[tuple[str, str], ...]
    #: Threads that it left running.
    threads: int
    #: Environment variables that it changed.
    environment: tuple[str, ...]
    #: True when it changed handlers of the root logger or of signals.
    handlers: bool
    #: What it wrote to stdout and stderr.
    printed: str
    #: Why it failed; None when it did not.
    error: str | None = None

    def did(self, kinds: Sequence[str]) -> list[str]:
        """Events of these kinds, each as a short text."""
        return [f"{event} {about}" for event, about in self.events if event in kinds]


def import_facts(module: str, path: Sequence[str] | None) -> ImportFacts:
    """Import `module` in a fresh process and tell what that did."""
    reading, writing = os.pipe()
    kinds = json.dumps([*SOCKETS, *PROCESSES, *WRITES])
    command = [sys.executable, "-c", _WATCH, module, json.dumps(list(path or [])), kinds, str(writing)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, pass_fds=[writing], stdin=subprocess.DEVNULL, timeout=60
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        answer = pipe.read()
    printed = done.stdout + done.stderr
    if not answer:
        last = printed.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return ImportFacts((), (), 0, (), handlers=False, printed=printed, error=last[0])
    facts = json.loads(answer)
    return ImportFacts(
        modules=tuple(facts["modules"]),
        events=tuple((event, about) for event, about in facts["events"]),
        threads=facts["threads"],
        environment=tuple(facts["environment"]),
        handlers=facts["handlers"],
        printed=printed,
    )
