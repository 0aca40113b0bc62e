"""The job of a pod whose worker really runs, seen from outside: its folder on the pod's mount, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from peft_studio.models import JobStatus
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.pretending import JOB
from peft_studio_testkit.sandbox.worker_jobs import FolderJob

_PREFIX = "PEFT_STUDIO_WORKER_"


class PodJob(FolderJob):
    """What the worker in the pod has written; the folder is there until the sandbox is reset."""

    def __init__(self, pod: Pod, folder: Path) -> None:
        super().__init__(pod.id, pod.spec.env[JOB], {}, pod.created, folder)
        self._pod = pod

    @property
    def received(self) -> dict[str, Any]:
        """The config as it was brought to the worker; empty before."""
        try:
            config: dict[str, Any] = self._folder.read_job()["config"]
        except FileNotFoundError:
            return {}
        return config

    @received.setter
    def received(self, value: dict[str, Any]) -> None:
        """It is the worker's."""

    @property
    def status(self) -> JobStatus:
        is_gone = self._pod.is_deleted  # before the log is read: nothing comes after
        state = self._folder.last_state()
        status = JobStatus.PENDING if state is None else JobStatus(state.data["status"])
        return JobStatus.CANCELLED if is_gone and not status.is_terminal else status

    def cancel(self) -> bool:
        return self._ask("stop", {"action": "cancel"})

    def pause(self) -> bool:
        return self._ask("stop", {"action": "pause"})

    def resume(self) -> bool:
        return self._ask("resume", {})

    def _ask(self, path: str, body: Mapping[str, Any]) -> bool:
        """True when the worker agrees; it does so soon."""
        environment = self._pod.spec.env
        port = self._pod.port(int(environment.get(f"{_PREFIX}PORT", "8000")))
        if port is None:
            return False
        headers = {"authorization": f"Bearer {environment[f'{_PREFIX}TOKEN']}"}
        try:
            answer = httpx2.post(f"http://127.0.0.1:{port}/v1/{path}", json=body, headers=headers, trust_env=False)
        except httpx2.TransportError:
            return False
        return answer.status_code == httpx2.codes.OK
