"""Pods whose worker pretends: a pod and a job of the sandbox's table are two views of one thing.

A pod is rented for a job when it is told to run the bootstrap script of `peft_studio.rented` for one. Unless the
sandbox really trains, no process is started for it then: it runs at once, and a scripted worker answers at its port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from peft_studio.rented import bootstrap_script
from peft_studio.rented.machine import worker_token
from peft_studio_runpod.sandbox.catalogue import Place
from peft_studio_runpod.sandbox.pods import Pod, PodSpec
from peft_studio_testkit.sandbox import JobTable
from peft_studio_testkit.sandbox.jobs import Job, ScriptedJob
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker

JOB: Final = "PEFT_STUDIO_WORKER_JOB"
#: Where a seeded pod stands. It brings its own GPU: however many there are, all of the stock is left for others.
SEEDED_PLACE: Final = Place(gpu="NVIDIA GeForce RTX 4090", cloud="SECURE", data_center="US-KS-2", cuda="12.8", count=1)


def is_for_a_job(spec: PodSpec) -> bool:
    """True for a pod that is told to run the worker for a job."""
    return JOB in spec.env and bootstrap_script() in spec.command


def seeded_spec(job: Job, key: str) -> PodSpec:
    """What was asked for, as a connector of ours would have; a job without a tag was rented by somebody else."""
    if job.tag is None:
        return PodSpec(name=job.id, image="demo:1", disk=20)
    variables = {"JOB": job.tag, "TOKEN": worker_token(key, job.tag), "PORT": "8000"}
    env = {f"PEFT_STUDIO_WORKER_{name}": value for name, value in variables.items()}
    return PodSpec(name=job.tag, image="demo:1", disk=20, env=env, ports=("8000/http",))


class Pretending:
    """Gives pods their job and their worker."""

    def __init__(self, jobs: JobTable, is_scripted: Callable[[], bool]) -> None:
        self._jobs = jobs
        #: Whether the next job pretends.
        self._is_scripted = is_scripted

    def takes(self, spec: PodSpec) -> bool:
        """True when the pod gets a worker that pretends."""
        return is_for_a_job(spec) and self._is_scripted()

    def new_job(self, pod: Pod) -> Job:
        """The job of a new pod; it begins when the worker is told of it."""
        return self._jobs.add(id=pod.id, tag=pod.spec.env[JOB], is_held=True)

    def serve(self, pod: Pod, environment: Mapping[str, str], folder: Path) -> None:
        """Let the pod's worker listen, for the first time or again."""
        assert isinstance(pod.job, ScriptedJob)
        if pod.worker is None:
            pod.worker = ScriptedWorker(pod.job, environment, folder, lambda line: pod.log.add("container", line))
        else:
            pod.worker.start()
