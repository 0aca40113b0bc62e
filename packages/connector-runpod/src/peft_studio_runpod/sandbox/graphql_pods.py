"""Pods in the words of the old API."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from peft_studio_runpod.sandbox.catalogue import CLOUDS, GPU_TYPES, Wish, find_gpu
from peft_studio_runpod.sandbox.pods import Pod, PodSpec, PodStatus
from peft_studio_runpod.sandbox.problems import Refusal


def spec_of(input: Mapping[str, Any]) -> PodSpec:
    """The container that a create asks for."""
    if input.get("templateId"):
        raise Refusal(404, "Template not found")
    entrypoint, cmd = _command(input.get("dockerArgs") or "")
    return PodSpec(
        name=input["name"],
        image=input.get("imageName") or "",
        disk=input.get("containerDiskInGb") or 10,
        args="",
        entrypoint=entrypoint,
        cmd=cmd,
        env={each["key"]: each["value"] for each in input.get("env") or ()},
        ports=tuple(port for port in (input.get("ports") or "").split(",") if port),
        mounts=_mounts(input),
        start_ssh=bool(input.get("startSsh")),
        min_vcpus=input.get("minVcpuCount") or 1,
    )


def wishes_of(input: Mapping[str, Any]) -> Iterator[Wish]:
    """The GPUs that a create asks for, in one cloud after the other."""
    gpu = find_gpu(input.get("gpuTypeId") or "")
    cloud = input.get("cloudType") or "ALL"
    for each in CLOUDS if cloud == "ALL" else (cloud,):
        yield Wish(
            gpu=gpu.id,
            count=input.get("gpuCount") or 1,
            cloud=each,
            data_centers=(input["dataCenterId"],) if input.get("dataCenterId") else (),
            cuda=tuple(input.get("allowedCudaVersions") or ()),
            vcpus=0,
        )


def pod_fields(pod: Pod) -> dict[str, Any]:
    """All fields that can be asked for."""
    spec, status = pod.spec, pod.status
    is_off = status in (PodStatus.EXITED, PodStatus.TERMINATED)
    return {
        "id": pod.id,
        "name": spec.name,
        "imageName": spec.image,
        "desiredStatus": str(status) if is_off else "RUNNING",
        "costPerHr": float(pod.cost),
        "containerDiskInGb": spec.disk,
        "volumeInGb": spec.persistent_size,
        "volumeMountPath": spec.mount_path,
        "dockerArgs": spec.shown_args,
        "env": [f"{name}={value}" for name, value in spec.env.items()],
        "gpuCount": pod.gpus,
        "lastStatusChange": f"Rented by User: {pod.timeline.text(pod.created)}",
        "machineId": f"machine-{pod.place.data_center.lower()}",
        "memoryInGb": find_gpu(pod.place.gpu).ram * pod.gpus,
        "podType": "RESERVED",
        "ports": ",".join(spec.ports),
        "uptimeSeconds": max(0, int(pod.timeline.clock.now() - pod.running)),
        "vcpuCount": find_gpu(pod.place.gpu).vcpus * pod.gpus,
        "machine": {
            "podHostId": f"{pod.id}-64411eb2",
            "gpuDisplayName": next(gpu.name for gpu in GPU_TYPES if gpu.id == pod.place.gpu),
        },
        "runtime": {"ports": [_port(port) for port in pod.runtime_ports()]} if status is PodStatus.RUNNING else None,
    }


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ip": port["ip"],
        "isIpPublic": port["type"] == "tcp",
        "privatePort": port["private"],
        "publicPort": port["public"],
        "type": port["type"],
    }


def _command(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and cmd: of JSON, or of a command that is split as a shell would."""
    try:
        document = json.loads(text)
    except ValueError:
        return (), tuple(shlex.split(text))
    return tuple(document.get("entrypoint", ())), tuple(document.get("cmd", ()))


def _mounts(input: Mapping[str, Any]) -> dict[str, Any]:
    path = input.get("volumeMountPath") or "/runpod-volume"
    if input.get("networkVolumeId"):
        return {"network": [{"volumeId": input["networkVolumeId"], "path": path}]}
    return {"persistent": {"size": input["volumeInGb"], "path": path}} if input.get("volumeInGb") else {}
