"""The job of a pod whose worker really runs, seen from outside: its folder on the pod's mount, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.pretending import JOB
from peft_studio_testkit.sandbox.worker_jobs import MachineJob

_PREFIX = "PEFT_STUDIO_WORKER_"


class PodJob(MachineJob):
    """What the worker in the pod has written; the folder is there until the sandbox is reset."""

    def __init__(self, pod: Pod, folder: Path) -> None:
        super().__init__(pod.id, pod.spec.env[JOB], {}, pod.created, folder)
        self._pod = pod

    @property
    def is_gone(self) -> bool:
        return self._pod.is_deleted

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
