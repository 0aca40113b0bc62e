"""A pod's life through the package `runpod`, as its documentation shows it. Prints what it saw as JSON."""

import json
import os
import sys
import time

import runpod

GPU = "NVIDIA GeForce RTX 4090"


def running(pod_id: str) -> dict:
    """The pod when it has a runtime."""
    for _ in range(400):
        pod = runpod.get_pod(pod_id)
        if pod["runtime"] is not None:
            return pod
        time.sleep(0.05)
    raise TimeoutError(pod)


def refused(call, *arguments, **named) -> str:
    """The error that it raises."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client makes of the answer
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main() -> None:
    """From the catalogue to the end."""
    runpod.api_key = os.environ["RUNPOD_API_KEY"]
    seen = {"user": runpod.get_user()["id"], "gpus": [gpu["id"] for gpu in runpod.get_gpus()]}
    seen["price"] = runpod.get_gpu(GPU)["securePrice"]
    seen["unknown gpu"] = refused(runpod.get_gpu, "NVIDIA Nothing")
    created = runpod.create_pod(
        "life", "demo:1", GPU, cloud_type="SECURE", volume_in_gb=20, container_disk_in_gb=40, ports="22/tcp,8000/http",
        volume_mount_path="/workspace", env={"A": "b"}, docker_args="sh -c 'echo hello; sleep 60'",
    )  # fmt: skip
    pod_id = created["id"]
    seen["env"] = created["env"]
    pod = running(pod_id)
    seen["ports"] = sorted(port["privatePort"] for port in pod["runtime"]["ports"])
    seen["running"] = [pod[name] for name in ("desiredStatus", "costPerHr", "gpuCount", "volumeInGb", "imageName")]
    seen["listed"] = [each["name"] for each in runpod.get_pods()]
    seen["stopped"] = runpod.stop_pod(pod_id)["desiredStatus"]
    seen["cost when stopped"] = runpod.get_pod(pod_id)["costPerHr"]
    seen["resumed"] = runpod.resume_pod(pod_id, 1)["desiredStatus"]
    running(pod_id)
    runpod.terminate_pod(pod_id)
    seen["gone"] = [runpod.get_pod(pod_id), runpod.get_pods()]
    seen["no capacity"] = refused(runpod.create_pod, "much", "demo:1", GPU, gpu_count=99)
    seen["unescaped"] = refused(runpod.create_pod, "quote", "demo:1", GPU, env={"A": 'say "hi"'})
    runpod.api_key = "rpa_wrong"
    seen["wrong key"] = refused(runpod.get_user)
    json.dump(seen, sys.stdout)


main()
