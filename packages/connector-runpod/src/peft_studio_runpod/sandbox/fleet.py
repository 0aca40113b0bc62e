"""All pods of the account: how they come, change, stop and go, and what is left of them to pay."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from attrs import evolve

from peft_studio.models import JobStatus
from peft_studio_runpod.sandbox.account import Account
from peft_studio_runpod.sandbox.bill import DISK_RUNNING, DISK_STOPPED, Bill, Rates, disk_rate
from peft_studio_runpod.sandbox.catalogue import Catalogue, Wish
from peft_studio_runpod.sandbox.container import GRACE, Container, Setup
from peft_studio_runpod.sandbox.log import PodLog
from peft_studio_runpod.sandbox.pods import ACTIONS, Pod, PodSpec, PodStatus, new_id
from peft_studio_runpod.sandbox.pretending import JOB, SEEDED_PLACE, Pretending, is_for_a_job
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.timeline import Timeline
from peft_studio_runpod.sandbox.volumes import VolumeTable
from peft_studio_testkit.sandbox import Job
from peft_studio_testkit.sandbox.tables import Table

#: What runs where neither the pod nor its image says what: RunPod's own images wait for somebody to log in.
IDLE: Final = ("sleep", "2000000000")
#: Until a new pod is STARTING, and from there until it is RUNNING.
PENDING_SECONDS: Final = (2.0, 3.0)


class Fleet(Table[Pod]):
    """The pods that there are."""

    prefix = "pod"

    def __init__(
        self,
        catalogue: Catalogue,
        volumes: VolumeTable,
        account: Account,
        timeline: Timeline,
        pretending: Pretending,
    ) -> None:
        super().__init__()
        #: The stock that pods take from.
        self.catalogue = catalogue
        self._volumes = volumes
        self._account = account
        self._timeline = timeline
        self._pretending = pretending
        #: Where container disks and host storage lie; set when the sandbox starts.
        self.folder = Path()
        #: Address of the API, for the pods.
        self.api: Callable[[], str] = str
        #: Deleted ones, which are still on the bill.
        self.deleted: dict[str, Pod] = {}
        #: Entrypoint of an image, by its name.
        self.images: dict[str, tuple[str, ...]] = {}
        #: Seconds of the platform's clock from create to STARTING, and from there to RUNNING.
        self.provisioning_seconds, self.starting_seconds = PENDING_SECONDS
        #: A pod that is started again comes back without its GPUs.
        self.starts_without_gpus = False
        self._is_closed = False

    @property
    def ever(self) -> list[Pod]:
        """Those that are and those that were."""
        return [*self.deleted.values(), *self.values()]

    def rent(self, spec: PodSpec, wish: Wish) -> Pod:
        """Make a pod. Refuses as the platform does."""
        volume = self._volumes.required(spec.volume_id, wish.cloud) if spec.volume_id else None
        if volume is not None:
            wish = evolve(wish, data_centers=(volume.data_center,))
        self._account.require_credit(wish)
        place = self.catalogue.take(wish)
        now = self._timeline.clock.now()
        starting = now + self.provisioning_seconds
        pod = Pod(
            id=new_id(), spec=spec, place=place, timeline=self._timeline, log=PodLog(self._timeline), bill=Bill(),
            created=now, starting=starting, running=starting + self.starting_seconds, gpus=place.count,
        )  # fmt: skip
        if self._pretending.takes(spec):
            pod.starting = pod.running = now
        return self._add(pod)

    def seed(self, job: Job, spec: PodSpec) -> None:
        """The pod of a job that was there before anybody looked."""
        now = self._timeline.clock.now()
        pod = Pod(
            id=job.id, spec=spec, place=SEEDED_PLACE, timeline=self._timeline, log=PodLog(self._timeline), bill=Bill(),
            created=now, starting=now, running=now, gpus=1, job=job, is_stopped=job.status is JobStatus.PAUSED,
        )  # fmt: skip
        self._add(pod)

    def start_pod(self, pod: Pod) -> None:
        """Boot a stopped pod on its host; its GPUs may be somebody else's by now."""
        with pod.lock:
            self._require(pod, "start")
            self._account.require_credit_for(pod)
            if pod.is_stopped:  # one that failed has them still
                gpus = 0 if self.starts_without_gpus else pod.place.count
                if gpus:
                    self.catalogue.retake(pod.place)
                pod.gpus = gpus
            self._wait_for(pod)
            pod.is_stopped = pod.has_error = False
            self._again(pod)

    def stop_pod(self, pod: Pod, *, is_forced: bool = False) -> None:
        """Let go of its GPUs and its container disk; storage stays, at twice the price."""
        with pod.lock:
            if not is_forced:
                self._require(pod, "stop")
            pod.is_stopped = True
            self._release(pod)
            self._end(pod)
            self._charge(pod)

    def restart_pod(self, pod: Pod) -> None:
        """Start its container anew."""
        with pod.lock:
            self._require(pod, "restart")
            self._end(pod)
            self._wait_for(pod)
            self._again(pod)

    def change_pod(self, pod: Pod, spec: PodSpec) -> None:
        """Another name changes nothing else; everything else starts the container anew."""
        with pod.lock:
            is_renamed_only = evolve(pod.spec, name=spec.name) == spec
            pod.spec = spec
            self._charge(pod)
            if not is_renamed_only and pod.status in (PodStatus.STARTING, PodStatus.RUNNING):
                self._end(pod)
                self._wait_for(pod)
                self._again(pod)

    def fail_pod(self, pod: Pod) -> None:
        """The host gave it up: ERROR."""
        with pod.lock:
            pod.has_error = True
            self._end(pod)

    def delete_pod(self, pod: Pod) -> None:
        """It is gone, with everything that was on its host."""
        with pod.lock:
            if pod.locked:
                raise Refusal(400, "Pod is locked")
            with self._lock:
                if pod.id not in self:
                    raise Refusal(404, "pod not found")
                if not pod.may_end():
                    return
                del self[pod.id]
                self.deleted[pod.id] = pod
            if not pod.is_stopped:
                self._release(pod)
            pod.is_deleted = True
            self._end(pod)
            self._charge(pod)
        self._timeline.clock.ring()

    def job_folder(self, pod: Pod) -> Path:
        """Where a worker that really runs keeps its job."""
        spec, mount = pod.spec, self._mount(pod)
        if mount is None or spec.mount_path is None:
            return self.folder / pod.id / "disk" / ".peft-studio-worker" / spec.env[JOB]
        root = PurePosixPath(spec.env.get("PEFT_STUDIO_WORKER_ROOT", spec.mount_path))
        inside = root.relative_to(spec.mount_path) if root.is_relative_to(spec.mount_path) else PurePosixPath()
        return mount / inside / spec.env[JOB]

    def run_out(self) -> None:
        """The balance is used up: what runs is stopped."""
        for pod in list(self.values()):
            if not pod.is_stopped:
                self.stop_pod(pod, is_forced=True)

    def clear(self) -> None:
        """Forget all pods when nothing of them is alive any more."""
        with self._lock:
            pods = self.ever
            super().clear()
            self.deleted = {}
            self.images = {}
            self.provisioning_seconds, self.starting_seconds = PENDING_SECONDS
            self.starts_without_gpus = False
        for pod in pods:
            pod.is_deleted = True
            self._end(pod)
        for pod in pods:
            self._wait_for(pod)
            shutil.rmtree(self.folder / pod.id, ignore_errors=True)

    def close(self) -> None:
        """Start nothing any more, and end what runs."""
        with self._lock:
            self._is_closed = True
        self.clear()

    def open(self, folder: Path) -> None:
        """Pods may come; what they hold lies in `folder`."""
        self.folder = folder
        self._is_closed = False

    def _require(self, pod: Pod, action: str) -> None:
        if pod.locked and action in ("stop", "restart"):
            raise Refusal(400, "Pod is locked")
        if action not in ACTIONS[pod.status]:
            raise Refusal(409, f"cannot {action} a pod that is {pod.status}")

    def _again(self, pod: Pod) -> None:
        pod.starting = self._timeline.clock.now()
        pod.running = pod.starting + (0.0 if pod.pretends else self.starting_seconds)
        self._charge(pod)
        self._boot(pod)

    def _add(self, pod: Pod) -> Pod:
        with self._lock:
            self._put(pod.id, pod)
            self._charge(pod)
        if pod.job is None and is_for_a_job(pod.spec):
            pod.job = self._pretending.new_job(pod)
        with self._lock:
            self._boot(pod)
        return pod

    def _boot(self, pod: Pod) -> None:
        if pod.is_deleted or self._is_closed:
            return
        folder = self.folder / pod.id
        pod.log.add("system", f"create container {pod.spec.image}")
        if pod.pretends:
            self._pretending.serve(pod, self._environment(pod, {port: port for port in pod.spec.tcp_ports}), folder)
            return
        setup = Setup(
            pod_id=pod.id,
            command=self._command(pod.spec),
            disk=folder / "disk",
            mount=self._mount(pod),
            mount_path=pod.spec.mount_path,
            ports=(*pod.spec.http_ports, *pod.spec.tcp_ports),
            environment=lambda ports: self._environment(pod, ports),
        )
        pod.container = Container(setup, pod.log, self._timeline.clock, pod.running)

    def _command(self, spec: PodSpec) -> list[str]:
        own = () if spec.replaces_entrypoint else self.images.get(spec.image, ())
        return [*own, *spec.command] or list(IDLE)

    def _mount(self, pod: Pod) -> Path | None:
        if pod.spec.mount_path is None:
            return None
        mount = self._volumes.folder(pod.spec.volume_id) if pod.spec.volume_id else self.folder / pod.id / "mount"
        mount.mkdir(parents=True, exist_ok=True)
        return mount

    def _environment(self, pod: Pod, ports: Mapping[int, int]) -> dict[str, str]:
        """The pod's own variables, and the platform's, which win: a RUNPOD_API_KEY of one's own is not seen."""
        spec = pod.spec
        injected = {
            "RUNPOD_POD_ID": pod.id,
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_DC_ID": pod.place.data_center,
            "RUNPOD_PUBLIC_IP": "127.0.0.1",
            "RUNPOD_GPU_COUNT": str(pod.gpus),
            "RUNPOD_API_BASE_URL": self.api(),
        }
        injected |= {f"RUNPOD_TCP_PORT_{inside}": str(ports[inside]) for inside in spec.tcp_ports}
        if spec.volume_id is not None:
            injected["RUNPOD_VOLUME_ID"] = spec.volume_id
        # What listens on all addresses of a container is behind the proxy; here it would be open to the network.
        offered = {"PEFT_STUDIO_WORKER_HOST": "127.0.0.1"}
        if spec.start_ssh and self._account.ssh_keys:
            offered["PUBLIC_KEY"] = "\n".join(self._account.ssh_keys)
        if spec.start_jupyter:
            offered["JUPYTER_PASSWORD"] = pod.id[::-1]
        return {**offered, **spec.env, **injected}

    def _charge(self, pod: Pod) -> None:
        """Write down what it costs from now on."""
        spec = pod.spec
        if pod.is_deleted:
            rates = Rates()
        elif pod.is_stopped:
            rates = Rates(disk=disk_rate(spec.persistent_size, DISK_STOPPED))
        else:
            rates = Rates(gpu=pod.rate, disk=disk_rate(spec.disk + spec.persistent_size, DISK_RUNNING))
        pod.bill.change(self._timeline.clock.now(), rates)

    def _release(self, pod: Pod) -> None:
        if pod.gpus:
            self.catalogue.give_back(pod.place)

    def _end(self, pod: Pod) -> None:
        if pod.worker is not None:
            (pod.worker.end if pod.is_deleted else pod.worker.stop)()
        if pod.container is not None:
            pod.container.end(grace=0.0 if pod.is_deleted else GRACE)

    def _wait_for(self, pod: Pod) -> None:
        if pod.container is not None:
            pod.container.join()
