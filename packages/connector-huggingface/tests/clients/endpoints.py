"""An inference endpoint's life through `huggingface_hub`. Prints what it saw as JSON."""

import json
import os
import sys

from huggingface_hub import HfApi, constants

constants.INFERENCE_ENDPOINTS_ENDPOINT = os.environ["ENDPOINTS_URL"]  # there is no variable for it
api = HfApi()
wish = {
    "repository": "me/tiny", "framework": "pytorch", "task": "text-generation", "accelerator": "gpu", "vendor": "aws",
    "region": "us-east-1", "instance_size": "x1", "min_replica": 0, "namespace": "me",
}  # fmt: skip


def refused(call, *arguments, **named) -> str:
    """The error that it raises: its class and the status that was answered."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the client makes of the answer
        return f"{type(error).__name__} {getattr(getattr(error, 'response', None), 'status_code', None)}"
    return "nothing"


hardware = api.list_inference_endpoints_hardware(namespace="me")
seen = {"prices": {f"{each.instance_type} {each.instance_size}": each.price_per_hour for each in hardware}}
endpoint = api.create_inference_endpoint("tiny", **wish, instance_type="nvidia-t4")
seen["created"] = [endpoint.status, endpoint.url]
seen["again"] = refused(api.create_inference_endpoint, "tiny", **wish, instance_type="nvidia-t4")
seen["unknown machine"] = refused(api.create_inference_endpoint, "other", **wish, instance_type="abacus")
endpoint.wait(timeout=30, refresh_every=0.1)
seen["running"] = [endpoint.status, endpoint.url]
seen["listed"] = [each.name for each in api.list_inference_endpoints("me")]
seen["zero"] = endpoint.scale_to_zero().status
seen["resumed"] = endpoint.resume().status
seen["twice"] = endpoint.resume(running_ok=True).status
seen["paused"] = endpoint.pause().status
endpoint.delete()
seen["gone"] = refused(endpoint.fetch)
json.dump(seen, sys.stdout)
