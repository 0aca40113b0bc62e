"""RunPod without an account and a bill. Needs the extra `sandbox`."""

from peft_studio_runpod.sandbox.sandbox import RunpodSandbox

__all__ = ["RunpodSandbox"]
