"""Weights & Biases without an account. Needs the extra `sandbox`."""

from peft_studio_wandb.sandbox.sandbox import WandbSandbox

__all__ = ["WandbSandbox"]
