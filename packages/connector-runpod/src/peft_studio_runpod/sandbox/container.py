"""A pod's container: a real process of this machine in a process group of its own, started again whenever it ends.

It is no isolation, and needs no rights. What differs from a container is made up for as far as that goes:

* The container disk is a folder: the process starts in it, HOME and TMPDIR lie in it, and it is emptied at each start.
* A mount is a folder too. Its address is in RUNPOD_SANDBOX_MOUNT, and where the command or a variable of the pod names
  the mount's path (`/workspace`, `/workspace/x`), the text is replaced by that address. A program that knows the path
  by itself does not find it.
* A port P of the pod is a free port of 127.0.0.1, another one at each start: it is in RUNPOD_SANDBOX_PORT_P, and takes
  the place of P in variables of the pod that are called `...PORT` and have P as their value.
* `python` is the one that runs the sandbox, and of its environment only what `PASSED_ON` names is passed on.
* Ending it ends its process group, and whatever came from it elsewhere, known by RUNPOD_SANDBOX_POD in its environment:
  RUNPOD_POD_ID is among what a program may keep from those that it starts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import psutil
from attrs import frozen

from peft_studio_runpod.sandbox.log import PodLog
from peft_studio_testkit.sandbox.clock import POLL, Clock
from peft_studio_testkit.sandbox.open_ports import free_ports

#: Variables of the sandbox's own environment that a container gets too, with * for anything.
PASSED_ON: Final = (
    "PATH", "LANG", "LC_*", "TZ", "*_PROXY", "*_proxy", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "PIP_*", "UV_*", "HF_*",
    "TRANSFORMERS_OFFLINE", "GOMP_SPINCOUNT", "OMP_NUM_THREADS",
)  # fmt: skip
#: Seconds of the platform's clock until a container that ended is started again.
RESTART_PAUSE: Final = 5.0
#: Seconds of real time that a stopped container has between SIGTERM and SIGKILL.
GRACE: Final = 0.5
#: Until a killed process is looked for again, seconds of real time.
_MOMENT: Final = 0.005
_MARK: Final = "RUNPOD_SANDBOX_POD"
#: psutil keeps one list of what it has seen, for all threads.
_PROCESSES: Final = threading.Lock()


@frozen(kw_only=True)
class Setup:
    """What a container is made of."""

    pod_id: str
    command: Sequence[str]
    disk: Path
    mount: Path | None
    mount_path: str | None
    #: Numbers inside the pod.
    ports: tuple[int, ...]
    #: The pod's variables, and those that the platform injects, given the real port of each declared one.
    environment: Callable[[Mapping[int, int]], dict[str, str]]


class Container:
    """The process, and the thread that starts it again."""

    def __init__(self, setup: Setup, log: PodLog, clock: Clock, starts: float) -> None:
        self._setup = setup
        self._log = log
        self._clock = clock
        self._starts = starts
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        #: Real port of each declared one, since the last start.
        self.ports: dict[int, int] = {}
        #: How often it was started; the platform tells nobody.
        self.starts = 0
        #: True between the end of the process and its next start.
        self.is_resting = False
        self._thread = threading.Thread(target=self._run, name=f"pod-{setup.pod_id}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process that is alive now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def end(self, *, grace: float = 0.0) -> None:
        """Let it end soon; `join` waits."""
        if not self._ended.is_set():
            self._ended.set()
            threading.Thread(target=self._kill, args=[grace], name="pod-end", daemon=True).start()

    def join(self) -> None:
        """Return when nothing of it is alive."""
        self._thread.join()

    def _run(self) -> None:
        while self._may_start():
            self.is_resting = False
            self._run_once()
            self._starts = self._clock.now() + RESTART_PAUSE
            self.is_resting = True

    def _may_start(self) -> bool:
        while self._clock.now() < self._starts:
            if self._ended.wait(POLL):
                return False
        return not self._ended.is_set()

    def _run_once(self) -> None:
        process = self._start()
        if process is None:
            return
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=[process], daemon=True)
        reader.start()
        process.wait()
        _kill_all(self._setup.pod_id, process.pid)  # as the end of its first process ends a container
        reader.join()
        process.stdout.close()

    def _start(self) -> subprocess.Popen[bytes] | None:
        setup = self._setup
        with self._lock:  # nobody ends it between its start and `_process`
            if self._ended.is_set():
                return None
            shutil.rmtree(setup.disk, ignore_errors=True)
            (setup.disk / "tmp").mkdir(parents=True)
            self.ports = dict(zip(setup.ports, free_ports(len(setup.ports)), strict=True))
            self.starts += 1
            self._log.add("system", f"start container for {setup.pod_id}: begin")
            try:
                self._process = subprocess.Popen(
                    [_mapped(part, setup) for part in setup.command],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    cwd=setup.disk, env=self._environment(), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                self._log.add("system", f"error starting container: exec: {setup.command[0]!r}: {error.strerror}")
                return None
            return self._process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._log.add("container", line.decode(errors="replace").rstrip("\r\n"))

    def _environment(self) -> dict[str, str]:
        setup = self._setup
        values = {name: value for name, value in os.environ.items() if any(fnmatch(name, each) for each in PASSED_ON)}
        values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values.get("PATH", os.defpath)])
        values |= {"HOME": str(setup.disk), "TMPDIR": str(setup.disk / "tmp")}
        for name, value in setup.environment(self.ports).items():
            is_port = name.endswith("PORT") and value.isdecimal() and int(value) in self.ports
            values[name] = str(self.ports[int(value)]) if is_port else _mapped(value, setup)
        values[_MARK] = setup.pod_id
        if setup.mount is not None:
            values["RUNPOD_SANDBOX_MOUNT"] = str(setup.mount)
        return values | {f"RUNPOD_SANDBOX_PORT_{inside}": str(real) for inside, real in self.ports.items()}

    def _kill(self, grace: float) -> None:
        with self._lock:
            process = self._process
        if process is None:
            return
        if grace and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        _kill_all(self._setup.pod_id, process.pid)


def _mapped(text: str, setup: Setup) -> str:
    """The text with the mount's path replaced where it stands as one, and not inside a longer name."""
    if setup.mount is None or setup.mount_path is None:
        return text
    pattern = rf"(?<![\w./-]){re.escape(setup.mount_path.rstrip('/'))}(?![\w.-])"
    return re.sub(pattern, lambda _: str(setup.mount), text)


def _kill_all(pod_id: str, group: int) -> None:
    """Kill every process of the pod, also those that were started meanwhile."""
    while victims := list(processes_of(pod_id, group)):
        for victim in [*victims, *_children(victims)]:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        time.sleep(_MOMENT)


def _children(parents: Sequence[psutil.Process]) -> Iterator[psutil.Process]:
    """What they started, whatever its environment, as long as they live to tell."""
    for parent in parents:
        with suppress(psutil.NoSuchProcess):
            yield from parent.children(recursive=True)


def processes_of(pod_id: str, group: int | None = None) -> Iterator[psutil.Process]:
    """What is alive of a pod: its group, and who carries the mark."""
    with _PROCESSES:
        everything = list(psutil.process_iter())
    for process in everything:
        try:
            in_group = group is not None and os.getpgid(process.pid) == group
            if process.status() != psutil.STATUS_ZOMBIE and (in_group or _carries(process, pod_id)):
                yield process
        except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
            continue


def _carries(process: psutil.Process, pod_id: str) -> bool:
    return bool(process.environ().get(_MARK) == pod_id)
