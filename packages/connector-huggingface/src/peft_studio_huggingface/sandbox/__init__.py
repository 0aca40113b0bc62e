"""The Hugging Face Hub without an account and a bill. Needs the extra `sandbox`."""

from peft_studio_huggingface.sandbox.sandbox import HuggingFaceSandbox

__all__ = ["HuggingFaceSandbox"]
