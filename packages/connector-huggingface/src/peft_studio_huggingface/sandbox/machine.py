"""The machine of a Job: its command as a real process of this machine, in a process group of its own.

It is no isolation, and needs no rights. What differs from a container is made up for as far as a worker needs it:

* The disk is a folder: the process starts in it, HOME and TMPDIR lie in it, and /workspace is a folder beside it
  wherever the command or a variable names it.
* The worker's port, and the port on loopback by which the start command is asked to end, are free ports of 127.0.0.1:
  several jobs run side by side here.
* `python` is the one that runs the sandbox, and of its environment only what `PASSED_ON` names is passed on.
* Its end takes along whatever came from it, known by HF_SANDBOX_JOB in its environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import psutil

from peft_studio_huggingface.hub_job import EAR
from peft_studio_testkit.sandbox.open_ports import free_ports

#: Variables of the sandbox's own environment that a job gets too, with * for anything; its token is not among them.
PASSED_ON: Final = (
    "PATH", "LANG", "LC_*", "TZ", "*_PROXY", "*_proxy", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "PIP_*", "UV_*", "HF_HOME",
    "HF_HUB_*", "TRANSFORMERS_OFFLINE", "GOMP_SPINCOUNT", "OMP_NUM_THREADS",
)  # fmt: skip
_MARK: Final = "HF_SANDBOX_JOB"
_PORT: Final = "PEFT_STUDIO_WORKER_PORT"
_WORKSPACE: Final = "/workspace"
#: Until a killed process is looked for again, seconds of real time.
_MOMENT: Final = 0.005


class Machine:
    """Runs from the moment it is made. `say` hears every line, `over` the exit code; None when its time was up."""

    def __init__(
        self,
        id: str,
        body: Mapping[str, Any],
        folder: Path,
        say: Callable[[str], None],
        over: Callable[[int | None], None],
    ) -> None:
        self._id = id
        self._say, self._over = say, over
        self._timeout = float(body["timeoutSeconds"])
        self.mount, disk = folder / "mount", folder / "disk"
        for each in (self.mount, disk / "tmp"):
            each.mkdir(parents=True)
        self.port, self._ear = free_ports(2)
        self._process = subprocess.Popen(
            [self._mapped(part) for part in body["command"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=disk, env=self._environment(body, disk), start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, name=f"job-{id}-log", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name=f"job-{id}", daemon=True)
        self._reader.start()
        self._waiter.start()

    def end(self) -> None:
        """Kill it with all that came from it; `over` has been called when this returns."""
        kill_all(self._id, self._process.pid)
        self._waiter.join()

    def _wait(self) -> None:
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(self._timeout)
        kill_all(self._id, self._process.pid)  # as the end of its first process ends a container
        self._process.wait()
        self._reader.join()
        self._over(code)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._say(line.decode(errors="replace").rstrip("\r\n"))

    def _environment(self, body: Mapping[str, Any], disk: Path) -> dict[str, str]:
        values = {name: value for name, value in os.environ.items() if any(fnmatch(name, each) for each in PASSED_ON)}
        values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values.get("PATH", os.defpath)])
        values |= {"HOME": str(disk), "TMPDIR": str(disk / "tmp"), "JOB_ID": self._id, _MARK: self._id}
        # What listens on all addresses of a container is behind a proxy; here it would be open to the network.
        values["PEFT_STUDIO_WORKER_HOST"] = "127.0.0.1"
        given = {**body.get("environment", {}), **body.get("secrets", {})}
        values |= {name: self._mapped(value) for name, value in given.items()}
        return {**values, _PORT: str(self.port)}

    def _mapped(self, text: str) -> str:
        text = re.sub(rf"(?<![\w./-]){_WORKSPACE}(?![\w.-])", lambda _: str(self.mount), text)
        return re.sub(rf"(?<!\d){EAR}(?!\d)", str(self._ear), text)


def kill_all(id: str, group: int | None = None) -> None:
    """Kill every process of the job, also those that were started meanwhile."""
    while victims := list(processes_of(id, group)):
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        time.sleep(_MOMENT)


def processes_of(id: str, group: int | None = None) -> Iterator[psutil.Process]:
    """What is alive of a job: its group, and who carries the mark."""
    for process in list(psutil.process_iter()):
        try:
            in_group = group is not None and os.getpgid(process.pid) == group
            if process.status() != psutil.STATUS_ZOMBIE and (in_group or process.environ().get(_MARK) == id):
                yield process
        except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
            continue
