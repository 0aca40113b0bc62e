"""What a pod may ask for beyond the schema: the rules that RunPod answers with 400, 404 and 422, in their order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from peft_studio_runpod.sandbox.catalogue import Wish, find_gpu
from peft_studio_runpod.sandbox.pods import PodSpec
from peft_studio_runpod.sandbox.problems import NO_CAPACITY, Refusal

#: So many variables at most.
MAX_ENV: Final = 50


def wish_of(body: Mapping[str, Any]) -> Wish:
    """The GPUs that a create asks for."""
    if ("gpu" in body) == ("cpu" in body):
        raise Refusal(400, "exactly one of gpu or cpu must be set")
    if "cpu" in body:
        raise Refusal(400, NO_CAPACITY)  # no CPU flavour is for rent here
    gpu = body["gpu"]
    if gpu.get("allowedCudaVersions") and "minCudaVersion" in gpu:
        raise Refusal(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
    find_gpu(gpu["id"])
    if "count" not in gpu:  # its default is 1 on paper; seen live: refused as if there were no stock
        raise Refusal(400, NO_CAPACITY)
    return Wish(
        gpu=gpu["id"],
        count=gpu["count"],
        cloud=body.get("cloud", "SECURE"),
        data_centers=tuple(body.get("dataCenterIds", ())),
        cuda=tuple(gpu.get("allowedCudaVersions", ())),
        cuda_floor=gpu.get("minCudaVersion"),
        ram=gpu.get("minRamPerGpu", 0),
        vcpus=gpu.get("minVcpuCountPerGpu", 0),
    )


def spec_of(body: Mapping[str, Any]) -> PodSpec:
    """The container that a create asks for."""
    _refuse_what_is_not_here(body)
    if "disk" not in body:  # optional on paper; seen live: refused
        raise Refusal(400, "container disk size is required")
    require_mounts(body.get("mounts", {}))
    spec = PodSpec(
        name=body["name"],
        image=body["image"],
        disk=body["disk"],
        mounts=body.get("mounts", {}),
        start_ssh=body.get("startSsh", False),
        start_jupyter=body.get("startJupyter", False),
        **_container(body),
    )
    return _checked(spec)


def changed_spec(spec: PodSpec, body: Mapping[str, Any]) -> PodSpec:
    """The container after a patch."""
    _refuse_what_is_not_here(body)
    plain = {name: body[name] for name in ("name", "image", "disk") if name in body}
    mounts = _changed_mounts(spec, body.get("mounts") or {})
    return _checked(evolve(spec, **plain, mounts=mounts, **_container(body)))


def require_mounts(mounts: Mapping[str, Any]) -> None:
    """One kind of storage at most."""
    if "persistent" in mounts and "network" in mounts:
        raise Refusal(400, "mounts.persistent and mounts.network are mutually exclusive")


def _changed_mounts(spec: PodSpec, mounts: Mapping[str, Any]) -> dict[str, Any]:
    require_mounts(mounts)
    if mounts.get("network") == []:
        raise Refusal(400, "mounts cannot be cleared")
    if not set(mounts) <= set(spec.mounts):
        raise Refusal(400, "the kind of a mount is fixed at create")
    if "network" in mounts and mounts["network"][0]["volumeId"] != spec.volume_id:
        raise Refusal(400, "the volume of a mount cannot be changed")
    return {**spec.mounts, **mounts}


def _container(body: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: body[name] for name in ("args", "env") if name in body}
    return values | {name: tuple(body[name]) for name in ("ports", "entrypoint", "cmd") if name in body}


def _refuse_what_is_not_here(body: Mapping[str, Any]) -> None:
    if "templateId" in body:
        raise Refusal(404, "template not found")
    if body.get("registry") is not None:
        raise Refusal(404, "registry not found")


def _checked(spec: PodSpec) -> PodSpec:
    if len(spec.env) > MAX_ENV:
        raise Refusal(400, f"at most {MAX_ENV} environment variables are allowed")
    for port in spec.ports:
        match = re.fullmatch(r"(\d{1,5})/(http|tcp)", port)
        if match is None or not 0 < int(match[1]) < 65536:
            raise Refusal(400, f"invalid port: {port}")
    return spec
