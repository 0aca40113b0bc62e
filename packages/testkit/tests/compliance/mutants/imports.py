"""Plugin modules whose import does something."""

from __future__ import annotations

from mutants import Mutant, edit, mutant

_TOP = "from peft_studio import hookimpl\n"


def _at_import(check: str, fault: str, code: str) -> Mutant:
    return mutant(check, fault, edit("plugin.py", _TOP, f"{_TOP}\n{code}\n"))


MUTANTS = (
    mutant(
        "import-works",
        "Plugin and connector import each other, which works in one order only.",
        edit("plugin.py", _TOP, f'{_TOP}from peft_studio_acme import connector\n\nPLATFORM = "Acme"\n'),
        edit(
            "connector.py",
            "from peft_studio_acme import __version__\n",
            "from peft_studio_acme import __version__\nfrom peft_studio_acme.plugin import PLATFORM\n",
        ),
    ),
    _at_import("import-prints-nothing", "The plugin says hello.", 'print("Acme connector loaded")'),
    _at_import(
        "import-prints-nothing",
        "The plugin warns of something.",
        'import warnings\nwarnings.warn("Acme is in beta", stacklevel=2)',
    ),
    _at_import(
        "import-opens-no-socket",
        "The plugin looks up the platform's address.",
        'import socket\n\nADDRESS = socket.getaddrinfo("localhost", 80)',
    ),
    _at_import(
        "import-starts-no-process",
        "The plugin asks a program for its version.",
        "import subprocess, sys\n\nsubprocess.run([sys.executable, '-I', '-c', ''], check=True)",
    ),
    _at_import(
        "import-starts-no-thread",
        "The plugin starts a thread that refreshes something.",
        "import threading\n\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    ),
    _at_import(
        "import-writes-no-file",
        "The plugin leaves a mark on the disk.",
        "import tempfile\nfrom pathlib import Path\n\nPath(tempfile.gettempdir(), 'acme-was-here').touch()",
    ),
    _at_import(
        "import-writes-no-file",
        "The plugin opens its own log file.",
        "import tempfile\n\nLOG = open(tempfile.gettempdir() + '/acme.log', 'a')\nLOG.close()",
    ),
    _at_import(
        "import-changes-no-environment",
        "The plugin sets a variable for its library.",
        "import os\n\nos.environ.setdefault('ACME_TELEMETRY', 'off')",
    ),
    _at_import(
        "import-changes-no-handlers", "The plugin configures logging.", "import logging\n\nlogging.basicConfig()"
    ),
    _at_import(
        "import-changes-no-handlers",
        "The plugin wants to be told of Ctrl-C.",
        "import signal, threading\n\n"
        "if threading.current_thread() is threading.main_thread():\n"
        "    signal.signal(signal.SIGTERM, lambda *_: None)",
    ),
    _at_import("import-loads-no-http-library", "The HTTP library is imported at the top.", "import httpx2"),
    _at_import("import-loads-no-sdk", "A large library is imported at the top.", "import jinja2"),
)
